"""Reads big JSON files of records piece by piece: memory holds one piece and its records, not the file.

orjson takes all records of a piece at once. What it refuses (a NaN, half a character, a broken file) the
standard library reads record by record, and says where the fault is.
"""

from __future__ import annotations

import codecs
import gc
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ObjectMissing

__all__ = ["iter_batches", "iter_records"]

_PIECE_BYTES = 2 * 1024 * 1024
_BLANKS = re.compile(r"[ \t\n\r]*")
_END_OF_RECORD = re.compile(r"\}[ \t\n\r]*,[ \t\n\r]*\{")
_LAST_OF_ARRAY = re.compile(r"\}[ \t\n\r]*\]")
_ENDS_TO_TRY = 2
_MAY_GO_ON = {"", *"0123456789.eE+-"}


def iter_records(
    storage: Storage, uri: str, piece_bytes: int = _PIECE_BYTES, *, name: str | None = None
) -> Iterator[tuple[str, Any]]:
    """The records of `iter_batches`, one by one."""
    for key, values in iter_batches(storage, uri, piece_bytes, name=name):
        for value in values:
            yield key, value


def iter_batches(
    storage: Storage, uri: str, piece_bytes: int = _PIECE_BYTES, *, name: str | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """The elements of a JSON array, or those of every array of a JSON object, in the order of the file.

    Args:
        storage: of the file.
        uri: of the file.
        piece_bytes: that are read at once.
        name: of the file in errors; None for its uri.

    Yields:
        (key, some elements), the key being that of the array in the object, or "" where the file is one
        array. Values of the object that are no arrays come as (key, [value]). Integers beyond 64 bits, which
        are nobody's ids, may come as floats.

    Raises:
        ConfigurationError: no such file, or it is no JSON, is cut off, or is neither an array nor an object.
        StorageError: it cannot be read.
    """
    text = _Text(storage, uri, piece_bytes, name or uri)
    opening = text.next_sign()
    if opening == "[":
        yield from _elements(text, "")
    elif opening == "{":
        yield from _members(text)
    else:
        raise text.error("neither a JSON array nor an object")
    if text.next_sign() != "":
        raise text.error("something follows the end of the JSON value")


def _members(text: _Text) -> Iterator[tuple[str, list[Any]]]:
    if text.take_if("}"):
        return
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise text.error(f"expected a name in quotes, found {key!r:.80}")
        text.expect(":")
        if text.take_if("["):
            yield from _elements(text, key)
        else:
            yield key, [text.value()]
        if not text.goes_on("}"):
            return


def _elements(text: _Text, key: str) -> Iterator[tuple[str, list[Any]]]:
    if text.take_if("]"):
        return
    while True:
        yield key, text.values()
        if not text.goes_on("]"):
            return


class _Text:
    """The file as text with a position; more of it is fetched when what is there does not suffice."""

    def __init__(self, storage: Storage, uri: str, piece_bytes: int, name: str) -> None:
        self._storage, self._uri, self._piece_bytes, self._name = storage, uri, piece_bytes, name
        try:
            info = storage.head(uri)
        except ObjectMissing as error:
            raise ConfigurationError(f"{uri}: there is no such file; correct its address") from error
        self._size_bytes, self._etag = info.size_bytes, info.etag
        self._fetched_bytes = 0
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._buffer, self._position = "", 0
        self._one_by_one = False

    def values(self) -> list[Any]:
        """At least one of the values of an array that begin here; objects of one piece come together."""
        self._skip_blanks()
        values = None
        if not self._one_by_one:
            values = self._objects()
            # Not all of the first one may be there yet.
            if values is None and self._fetch():
                values = self._objects()
            self._one_by_one = values is None
        return [self.value()] if values is None else values

    def _objects(self) -> list[Any] | None:
        """The objects of this array from here to the last in the buffer; None where they cannot be told."""
        for end in self._ends():
            # An end inside of a record, or behind the array's, makes a text that is no array of objects.
            try:
                values = _loads(f"[{self._buffer[self._position : end]}]")
            except orjson.JSONDecodeError:
                continue
            self._position = end
            return values
        return None

    def _ends(self) -> Iterator[int]:
        """Positions behind what may be the last object: those before another's start, then arrays' ends."""
        end = len(self._buffer)
        for _ in range(_ENDS_TO_TRY):
            end = self._buffer.rfind("}", self._position, end)
            while end >= 0 and not _END_OF_RECORD.match(self._buffer, end):
                end = self._buffer.rfind("}", self._position, end)
            if end < 0:
                return
            yield end + 1
        for last, _ in zip(
            _LAST_OF_ARRAY.finditer(self._buffer, self._position), range(_ENDS_TO_TRY), strict=False
        ):
            yield last.start() + 1

    def value(self) -> Any:  # noqa: ANN401
        """The JSON value that begins here."""
        self._skip_blanks()
        while True:
            try:
                value, end = self._scan(self._buffer, self._position)
            except json.JSONDecodeError as error:
                # As much again as there is: a value of many pieces is scanned a few times, not once a piece.
                if not self._fetch(len(self._buffer) - self._position):
                    raise self.error(str(error)) from error
                continue
            except (RecursionError, ValueError) as error:
                raise self.error(f"a value that no record has ({error})") from error
            # A number that ends with the piece, or before an "e" or "." that does, may go on in the next.
            if self._buffer[end : end + 1] in _MAY_GO_ON and self._fetch():
                continue
            self._position = end
            return value

    def next_sign(self) -> str:
        """Take the next character that is not blank; empty at the end of the file."""
        self._skip_blanks()
        sign = self._buffer[self._position : self._position + 1]
        self._position += len(sign)
        return sign

    def take_if(self, sign: str) -> bool:
        """Take the next character if it is this one."""
        self._skip_blanks()
        if self._buffer.startswith(sign, self._position):
            self._position += 1
            return True
        return False

    def goes_on(self, closing: str) -> bool:
        """After a value, take the comma (True) or the closing sign (False); one of them must follow."""
        sign = self.next_sign()
        if sign == ",":
            return True
        if sign == closing:
            return False
        raise self.error(f"expected ',' or {closing!r}, found {sign or 'the end of the file'!r}")

    def expect(self, sign: str) -> None:
        """Take the next character, which must be this one."""
        if not self.take_if(sign):
            found = self._buffer[self._position : self._position + 1] or "the end of the file"
            raise self.error(f"expected {sign!r}, found {found!r}")

    def error(self, what: str) -> ConfigurationError:
        """An error that says where in the file it is."""
        behind = len(self._buffer) - self._position
        return ConfigurationError(
            f"{self._name}: no JSON file of records near byte {max(0, self._fetched_bytes - behind)}: {what}"
        )

    def _skip_blanks(self) -> None:
        while True:
            blanks = _BLANKS.match(self._buffer, self._position)
            self._position = blanks.end() if blanks else self._position
            if self._position < len(self._buffer) or not self._fetch():
                return

    def _fetch(self, at_least_bytes: int = 0) -> bool:
        """Append the next piece, or more of the file where more is wanted; False at its end."""
        if self._fetched_bytes >= self._size_bytes:
            return False
        end = min(self._size_bytes, self._fetched_bytes + max(self._piece_bytes, at_least_bytes))
        data = self._storage.read_range(self._uri, self._fetched_bytes, end, self._etag)
        self._fetched_bytes = end
        try:
            piece = self._decode(data, final=end == self._size_bytes)
        except UnicodeDecodeError as error:
            raise self.error("not UTF-8 text") from error
        self._buffer, self._position = self._buffer[self._position :] + piece, 0
        self._one_by_one = False
        return True


def _loads(text: str) -> list[Any]:
    """Without garbage collection, which would look through all new records again and again."""
    collected = gc.isenabled()
    gc.disable()
    try:
        values: list[Any] = orjson.loads(text)
        return values
    finally:
        if collected:
            gc.enable()
