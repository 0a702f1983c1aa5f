from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.storage.uris import is_inside, normalise_uri, require_apart, split_s3, suffix_of
from posrefine.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://b/k", "s3://b/k"),
        ("s3://b/k/", "s3://b/k"),
        ("s3://b", "s3://b"),
        ("s3://b/a//../%20", "s3://b/a//../%20"),
        ("/a/b/", "/a/b"),
        ("file:///a/with%20space", "/a/with space"),
        ("file://localhost/a", "/a"),
        ("rel", str(Path.cwd() / "rel")),
        ("//a/b", "/a/b"),
        ("file:////a//b", "/a/b"),
        ("./s3:/b", str(Path.cwd() / "s3:" / "b")),
        ("at 12:30/b", str(Path.cwd() / "at 12:30" / "b")),
    ],
)
def test_an_address_has_one_spelling(given, expected):
    assert normalise_uri(given) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "gs://b/k",
        "s3://",
        "s3:///k",
        "http://x/y",
        "s3:/b/k",
        "s3:b/k",
        "S3:/b",
        "a\0b",
        "gs:/b/k",
        "file:/a",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_what_is_wanted(uri):
    with pytest.raises(ConfigurationError, match="s3://"):
        normalise_uri(uri)


def test_bucket_and_key_are_told_apart():
    assert split_s3("s3://b/k/l") == ("b", "k/l")
    assert split_s3("s3://b") == ("b", "")


def test_a_suffix_is_of_the_name_and_in_lower_case():
    assert [suffix_of(key) for key in ("a/B.JPG", "a.d/b", "a.tar.gz", ".jpg")] == [".jpg", "", ".gz", ""]


def test_inside_means_below_the_folder_and_not_sharing_its_beginning():
    assert is_inside("s3://b/in/x", "s3://b/in")
    assert is_inside("s3://b/in", "s3://b/in")
    assert not is_inside("s3://b/in2", "s3://b/in")


@pytest.mark.parametrize(
    ("source", "target"), [("/d", "/d/out"), ("/d/out/in", "/d/out"), ("/d", "file:///d")]
)
def test_input_and_output_within_one_another_are_refused(source, target):
    with pytest.raises(ConfigurationError, match="inside one another"):
        require_apart(source, target)


def test_neighbouring_input_and_output_are_fine():
    require_apart("s3://b/photos", "s3://b/photos-out")
