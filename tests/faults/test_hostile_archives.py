"""Tars made to lead a reader astray: names are only names, and links are nothing at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from support.images import encode, gradient

from pipeline.inputs.cutting import cut_into_units
from pipeline.inputs.load import load_unit
from pipeline.inputs.readers import ReadOptions
from pipeline.storage import Storage
from posrefine.errors import ImageStatus

NAMES = [
    "../../outside.png",
    "/etc/absolute.png",
    "with space.png",
    "two\nlines.png",
    "größe-写真.png",
    "twice.png",
    "twice.png",
    "a/./b//c.png",
    f"{'long/' * 60}name.png",
]


def hostile_tar(elsewhere: Path) -> bytes:
    """An image under each name, and links and a device that are named like images."""
    file = io.BytesIO()
    image = encode(gradient(), "PNG")
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in NAMES:
            entry = tarfile.TarInfo(name)
            entry.size = len(image)
            tar.addfile(entry, io.BytesIO(image))
        for name, kind in (
            ("soft.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("disk.png", tarfile.BLKTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(elsewhere)
            tar.addfile(entry)
    return file.getvalue()


def test_names_of_members_are_keys_and_never_paths_and_links_are_not_followed(tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode(gradient(9, 9), "PNG"))
    given = tmp_path / "given"
    given.mkdir()
    (given / "a.tar").write_bytes(hostile_tar(secret))
    before = sorted(tmp_path.rglob("*"))

    (unit,) = cut_into_units(str(given), Storage())
    images = load_unit(unit, Storage(), ReadOptions())

    assert [image.image_key for image in images] == NAMES
    assert {image.status for image in images} == {ImageStatus.OK}
    assert {(image.width, image.height) for image in images} == {(48, 32)}
    assert len({image.uri for image in images}) == len(NAMES)
    assert all(image.uri.startswith(f"{given}/a.tar#") for image in images)
    assert sorted(tmp_path.rglob("*")) == before
