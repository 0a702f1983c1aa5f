"""Big files on their way to storage: they grow on the local disk, not in memory."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.storage import Storage

__all__ = ["put_json_lines", "put_zipped", "spooled", "write_array"]

_COPY_CHARS = 1 << 20


@contextmanager
def spooled(storage: Storage, uri: str) -> Iterator[IO[str]]:
    """A text file on the local disk that is put to `uri` when the block ends well."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool"
        with path.open("w", encoding="utf-8") as file:
            yield file
        storage.put_file(uri, path)


def write_array(file: IO[str], records: Iterable[Any]) -> None:
    """A JSON array, a record a line."""
    opening = "["
    for record in records:
        file.write(opening + "\n" + _compact(record))
        opening = ","
    file.write("[]\n" if opening == "[" else "\n]\n")


def put_json_lines(storage: Storage, uri: str, records: Iterable[Any]) -> None:
    """A JSON value a line."""
    with spooled(storage, uri) as file:
        for record in records:
            file.write(_compact(record) + "\n")


def put_zipped(storage: Storage, uri: str, name: str, pieces: Iterable[str]) -> None:
    """A zip that holds the pieces as one text file called `name`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.zip"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(name, "w", force_zip64=True) as member,
        ):
            for piece in pieces:
                member.write(piece.encode())
        storage.put_file(uri, path)


def read_pieces(file: IO[str]) -> Iterator[str]:
    """The text of a file from its beginning, a piece at a time."""
    file.seek(0)
    while piece := file.read(_COPY_CHARS):
        yield piece


def _compact(record: object) -> str:
    # NaN is no JSON, and no tool reads it: better to fail here.
    return json.dumps(record, separators=(",", ":"), allow_nan=False)
