"""Secrets in addresses: what counts as one, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posrefine import redaction
from posrefine.redaction import holds_credentials, redacted, redacted_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY:SE/CR+ET=@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY:12/34@bucket/x", "s3://***@bucket/x"),
        ("https://user@host/x", "https://***@host/x"),
        ("s3:/KEY:SECRET@bucket/x", "s3:/***@bucket/x"),
        ("s3:/KEY:SE/CR+ET=@bucket/x", "s3:/***@bucket/x"),
        ("s3:///KEY:SECRET@bucket/x", "s3:///***@bucket/x"),
        ("cannot read '//KEY:SECRET@bucket': no", "cannot read '//***@bucket': no"),
        ("s3:KEY:SECRET@bucket/x", "***@bucket/x"),
        (
            "cannot reach http://u:p@h:9091/metrics: refused",
            "cannot reach http://***@h:9091/metrics: refused",
        ),
        ("Pushgateway u:p@host:9091: refused", "Pushgateway ***@host:9091: refused"),
        ("Pushgateway u:p:w@host:9091: refused", "Pushgateway ***@host:9091: refused"),
        ("Pushgateway 'u:p@w:d@host:9091'", "Pushgateway '***@host:9091'"),
        ("input='s3://k:s@b/p' there", "input='s3://***@b/p' there"),
        (
            "https://h/x?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=abc&partNumber=1",
            "https://h/x?X-Amz-Credential=***&X-Amz-Signature=***&partNumber=1",
        ),
        ("http://gw:9091?token=abc", "http://gw:9091?token=***"),
        ("http://h/x?a=1&access_token=abc#top", "http://h/x?a=1&access_token=***#top"),
        ("http://h/x?PASSWORD=abc", "http://h/x?PASSWORD=***"),
        ("(http://h/x?token=a.b:c): refused", "(http://h/x?token=***): refused"),
        ("http://h/x?key=a&pass=b&jwt=c&bearer=d", "http://h/x?key=***&pass=***&jwt=***&bearer=***"),
        (
            "http://h/x?user_pass=a&secret_key=b&next=?token=c",
            "http://h/x?user_pass=***&secret_key=***&next=?token=***",
        ),
        ("Pushgateway user:pa/ss@host:9091: refused", "Pushgateway ***@host:9091: refused"),
        ("http://user:12/34@host/x: no", "http://***@host/x: no"),
        ("http://user:70000/4@host/x", "http://***@host/x"),
        ("cannot read http://u:p w@host, nor a@b", "cannot read http://***@host, nor a@b"),
        ("http://u:p?w@host/x", "http://***@host/x"),
        ("--pushgateway=token@host:9091", "--pushgateway=***@host:9091"),
        ("'dG9rZW4==@[::1]:9091/x'", "'***@[::1]:9091/x'"),
    ],
)
def test_secrets_are_replaced_and_the_rest_stays(text: str, shown: str):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b.jpg",
        "s3://bucket/a:b/c@d.jpg",
        "http://host:8080/a@b",
        "http://[::1]:9091/x",
        "photos/a@b.jpg",
        "Ada <ada@example.com>",
        "unit u00000001: 3 of 4 images, size=12, sha256=ab",
        "/data/x?y=1",
        "/data//a:b/c@d.jpg",
        "at 12:30:/data/a@b.jpg",
        "file:/data/a@2x.jpg",
        "images/a:b@2x.jpg",
        "photos/a@2x.jpg",
        "s3://bucket/a@b/c.jpg",
        "name@example.org",
        "a@2x.jpg:12: no image",
        "http://host:443/a@b/c.jpg",
        "http://host:81/x is gone; ask ops@example.org",
        "http://host:8080: refused; ask ops@example.org",
        "http://[::1]:9091/x: refused; ask ops@example.org",
        "s3://bucket/x: refused; ask ops@example.org",
        "http://host/x?image_key=a&monkey=b&compass=c",
    ],
)
def test_text_without_secrets_stays_as_it_is(text: str):
    assert redacted(text) == text
    assert not holds_credentials(text)


@pytest.mark.parametrize(
    "address",
    [
        "s3://k:s@b/x",
        "s3://k@b",
        "http://u:p@h/",
        "u:p@host:9091",
        "u:p:w@host:9091",
        "u:p@w@host:9091",
        "s3:/k:s@b",
        "//k:s@b",
        "s3:k:s@b",
        "S3:/k:s/t@b",
        "user:pa/ss@host:9091",
        "http://user:12/34@host/x",
        "http://u:p w@host",
        "token@host:9091",
    ],
)
def test_an_address_with_somebody_before_its_host_holds_credentials(address: str):
    assert holds_credentials(address)


_WORDS = st.text("abcXYZ019+/=_-", min_size=8, max_size=40)


@given(
    key=st.text("ABCXYZ019", min_size=4, max_size=20), secret=_WORDS, around=st.sampled_from(["", " ", "'"])
)
def test_no_secret_of_an_s3_address_is_left_whatever_stands_around_it(key: str, secret: str, around: str):
    shown = redacted(f"reading {around}s3://{key}:{secret}@bucket/x{around}: refused")
    assert shown == f"reading {around}s3://***@bucket/x{around}: refused"


@pytest.mark.parametrize(
    "text",
    [
        "@ " + "a." * 50_000,
        "@ " + "http://a:b" * 25_000,
        "x@" + "=//x:y" * 25_000,
        "@" + "a:," * 50_000,
        "a:," * 50_000 + "/x@y",
        "http://a:b/" * 25_000 + "?x@y",
        "http://u:p " * 25_000 + "@",
        "a:b@" * 50_000 + "@",
        "[::1" * 50_000 + "@",
        "@a" * 50_000,
        "http://h:" + "9" * 200_000 + "@",
        "?token=" + ":" * 200_000 + "a",
        "&" + "a." * 50_000 + "=",
    ],
    ids=lambda text: text[:12],
)
def test_whatever_a_text_is_made_of_it_is_looked_through_a_few_times_only(text: str):
    """Were each beginning of an address looked at up to the end of the text, one of these took hours."""
    assert len(redacted(text)) < 2 * len(text)
    assert holds_credentials(text) in (True, False)


def test_each_mark_of_an_address_is_looked_for_once(monkeypatch: pytest.MonkeyPatch):
    looked = 0
    next_ = redaction._Marks._next

    def counted(marks: redaction._Marks, mark: str, start: int) -> int:
        nonlocal looked
        looked += 1
        return next_(marks, mark, start)

    monkeypatch.setattr(redaction._Marks, "_next", counted)
    addresses = 2000
    assert redacted("http://h/a,u:p/," * addresses + "@") == "http://h/a,u:p/," * addresses + "@"
    assert addresses < looked < 30 * addresses


def test_plain_data_is_redacted_however_deep():
    given = {"a": ["s3://k:s@b", {"b": "h?token=1"}], "c": ("u:p@h", 3), "d": None}
    assert redacted_values(given) == {"a": ["s3://***@b", {"b": "h?token=***"}], "c": ("***@h", 3), "d": None}
