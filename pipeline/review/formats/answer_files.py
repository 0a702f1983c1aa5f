"""The files that people bring back: found below an address, taken out of archives, known by their content."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from pipeline.ground_truth.json_stream import iter_records
from pipeline.review.formats.checks import Place
from pipeline.storage import Storage
from pipeline.storage.object_file import ObjectFile
from pipeline.storage.uris import normalise_uri, suffix_of
from posrefine.errors import ConfigurationError, ObjectMissing

__all__ = ["AnswerFile", "Tool", "iter_answer_files"]

logger = logging.getLogger(__name__)

Tool = Literal["cvat", "label-studio", "fiftyone", "coco"]

_HEAD_BYTES = 64 * 1024
_SUFFIXES = {".xml", ".json", ".jsonl"}
_ARCHIVE = b"PK\x03\x04"
_MOST_MEMBERS = 1_000_000
_MOST_BYTES = 4 * 2**30
"""Of what is read of an archive, and of a file: far beyond what people label."""
_LONGEST_LINE_CHARS = 64 * 2**20
_COPY_BYTES = 2**20
_FIRST_NAME = re.compile(r'\{\s*"([^"]{1,100})"')
_SAMPLES = re.compile(rb'"samples"\s*:\s*\[')
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    OSError,
    ValueError,
)


@dataclass(frozen=True)
class AnswerFile:
    """A file of a tool.

    Attributes:
        place: its name for people.
        tool: whose it is.
        stem: its own name, or its archive's, without suffix.
        order: joints of the skeleton in the file beside it, of FiftyOne's alone.
        is_one_value: whether FiftyOne's samples are in one JSON value, not a line each.
    """

    place: Place
    tool: Tool
    stem: str
    order: tuple[str, ...] | None
    is_one_value: bool
    _storage: Storage
    _uri: str

    def open(self) -> IO[bytes]:
        """The bytes."""
        info = self._storage.head(self._uri)
        return cast("IO[bytes]", ObjectFile(self._storage, self._uri, info.size_bytes, info.etag))

    def records(self) -> Iterator[tuple[str, Any]]:
        """Of a JSON file, as `iter_records` gives them.

        Raises:
            ConfigurationError: it is no JSON.
        """
        return iter_records(self._storage, self._uri, name=str(self.place))

    def samples(self) -> Iterator[tuple[int, Any]]:
        """Of FiftyOne's, with their numbers: lines of a file, or positions in a data set's one value.

        Raises:
            ConfigurationError: it is no JSON.
        """
        if self.is_one_value:
            values = (value for key, value in self.records() if key == "samples")
            return enumerate(values, start=1)
        return self._lines_of_json()

    def _lines_of_json(self) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(self._lines(), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise self.place.at(f"line {number}").refusal(f"no JSON: {error}") from error

    def _lines(self) -> Iterator[bytes]:
        file, rest = self.open(), b""
        while piece := file.read(_COPY_BYTES):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > _LONGEST_LINE_CHARS:
                raise self.place.refusal(f"a line of more than {_LONGEST_LINE_CHARS} bytes")
        yield rest


def iter_answer_files(storage: Storage, uri: str) -> Iterator[AnswerFile]:
    """The files of tools at an address: a file, an archive (zip), or a folder of them, in order of names.

    What comes from an archive is gone when the next file is asked for.

    Raises:
        ConfigurationError: there is nothing, or a file that no tool's export looks like.
        StorageError: the store could not be reached.
    """
    uri = normalise_uri(uri)
    found = 0
    for address in _addresses(storage, uri):
        for file in _files_of(storage, address):
            found += 1
            yield file
    if not found:
        raise ConfigurationError(
            f"{uri}: no export of a tool is there, wanted .xml, .json, .jsonl or .zip; correct the address"
        )


def _addresses(storage: Storage, uri: str) -> Iterator[str]:
    if storage.exists(uri):
        yield uri
        return
    for info in storage.list(uri):
        if suffix_of(info.uri) in _SUFFIXES | {".zip"}:
            yield info.uri
        else:
            logger.info("%s: no export of a tool: left out", info.uri)


def _files_of(storage: Storage, uri: str) -> Iterator[AnswerFile]:
    place, stem = Place(uri), PurePosixPath(uri).stem
    head = _head(storage, uri)
    if head.startswith(_ARCHIVE):
        yield from _members(storage, uri, place, stem)
        return
    tool = _tool_of(head, place)
    if tool is not None:
        beside = uri.rpartition("/")[0]
        order = _order(tool, lambda name: _read(storage, f"{beside}/{name}"), place)
        yield AnswerFile(place, tool, stem, order, _is_one_value(head), storage, uri)


def _head(storage: Storage, uri: str) -> bytes:
    info = storage.head(uri)
    return storage.read_range(uri, 0, min(_HEAD_BYTES, info.size_bytes), info.etag)


def _read(storage: Storage, uri: str) -> bytes | None:
    try:
        return storage.read_bytes(uri)
    except ObjectMissing:
        return None


def _members(storage: Storage, uri: str, place: Place, stem: str) -> Iterator[AnswerFile]:
    info = storage.head(uri)
    local = Storage()
    try:
        archive = zipfile.ZipFile(ObjectFile(storage, uri, info.size_bytes, info.etag))
        members = [one for one in archive.infolist() if _is_wanted(one.filename)]
    except _ZIP_ERRORS as error:
        raise place.refusal(f"no readable zip: {error}") from error
    if len(members) > _MOST_MEMBERS or sum(one.file_size for one in members) > _MOST_BYTES:
        raise place.refusal(f"holds more than {_MOST_BYTES} bytes or {_MOST_MEMBERS} files of annotations")
    for member in sorted(members, key=lambda one: one.filename):
        inside = Place(f"{place}!{member.filename}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "member"
            _unpack(archive, member, path, inside)
            head = _head(local, str(path))
            tool = _tool_of(head, inside)
            if tool is not None:
                beside = member.filename.rpartition("/")[0]
                order = _order(tool, _reader_of(archive, beside, inside), inside)
                yield AnswerFile(inside, tool, stem, order, _is_one_value(head), local, str(path))


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts if part != "..")
    return path.suffix.lower() in _SUFFIXES and not hidden and not name.endswith("/")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, place: Place) -> None:
    """The member as a file; of no more bytes than its header says, whatever it holds."""
    try:
        with archive.open(member) as packed, path.open("wb") as file:
            left = member.file_size
            while left and (piece := packed.read(min(_COPY_BYTES, left))):
                file.write(piece)
                left -= len(piece)
    except _ZIP_ERRORS as error:
        raise place.refusal(f"cannot be unpacked: {error}") from error


def _reader_of(archive: zipfile.ZipFile, folder: str, place: Place) -> Callable[[str], bytes | None]:
    def read(name: str) -> bytes | None:
        try:
            with archive.open(f"{folder}/{name}" if folder else name) as member:
                return member.read(_COPY_BYTES)
        except KeyError:
            return None
        except _ZIP_ERRORS as error:
            raise place.refusal(f"{name} beside it cannot be unpacked: {error}") from error

    return read


def _tool_of(head: bytes, place: Place) -> Tool | None:
    """Whose export begins like this; None for the files that go along with exports and hold no answers."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return None if "<View" in text and "<annotations" not in text else "cvat"
    if text.startswith("["):
        if '"sublabels"' in text:
            return None
        if '"image_id"' in text and '"data"' not in text:
            raise place.refusal(
                "holds COCO's results, which say nothing of visibility; export the ground truth"
            )
        return "label-studio"
    if not text and suffix_of(place.file) == ".jsonl":
        # Of somebody who had no image to look at, there is a sample a line, and no line.
        logger.warning("%s: holds no samples", place)
        return "fiftyone"
    first = _FIRST_NAME.match(text)
    if first is not None:
        if _is_one_value(head) or '"filepath"' in text:
            return "fiftyone"
        if PurePosixPath(place.file.rpartition("!")[2]).name in ("skeleton.json", "metadata.json"):
            return None
        if first[1] in ("info", "licenses", "images", "annotations", "categories"):
            return "coco"
    raise place.refusal(
        "is no export that is known here, wanted CVAT's XML, Label Studio's JSON, FiftyOne's samples or "
        "COCO's keypoints JSON"
    )


def _is_one_value(head: bytes) -> bool:
    samples = _SAMPLES.search(head)
    return samples is not None and b'"filepath"' not in head[: samples.start()]


def _order(tool: Tool, read: Callable[[str], bytes | None], place: Place) -> tuple[str, ...] | None:
    """The joints that a data set's skeleton has beside the samples."""
    if tool != "fiftyone":
        return None
    for name in ("metadata.json", "skeleton.json"):
        data = read(name)
        if data is None:
            continue
        try:
            content = json.loads(data)
            labels = (
                content["labels"]
                if name == "skeleton.json"
                else ((content.get("skeletons") or {}).get("poses") or content["default_skeleton"])["labels"]
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            logger.warning("%s: %s beside it names no joints", place, name)
            continue
        if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
            return tuple(labels)
    return None
