"""Reads big JSON files of records piece by piece: memory holds one piece and one record, not the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.storage import Storage
from posrefine.errors import ConfigurationError

__all__ = ["iter_records"]

_PIECE_BYTES = 8 * 1024 * 1024
_BLANKS = re.compile(r"[ \t\n\r]*")
_MAY_GO_ON = {"", *"0123456789.eE+-"}


def iter_records(storage: Storage, uri: str, piece_bytes: int = _PIECE_BYTES) -> Iterator[tuple[str, Any]]:
    """The elements of a JSON array, or those of every array of a JSON object, in the order of the file.

    Yields:
        (key, element), the key being that of the array in the object, or "" where the file is one array.
        Values of the object that are no arrays come whole, as (key, value).

    Raises:
        ConfigurationError: the file is no JSON, is cut off, or is neither an array nor an object.
        StorageError: it cannot be read.
    """
    text = _Text(storage, uri, piece_bytes)
    opening = text.next_sign()
    if opening == "[":
        yield from _elements(text, "")
    elif opening == "{":
        yield from _members(text)
    else:
        raise text.error("neither a JSON array nor an object")
    if text.next_sign() != "":
        raise text.error("something follows the end of the JSON value")


def _members(text: _Text) -> Iterator[tuple[str, Any]]:
    if text.take_if("}"):
        return
    while True:
        key = text.value()
        text.expect(":")
        if text.take_if("["):
            yield from _elements(text, key)
        else:
            yield key, text.value()
        if not text.goes_on("}"):
            return


def _elements(text: _Text, key: str) -> Iterator[tuple[str, Any]]:
    if text.take_if("]"):
        return
    while True:
        yield key, text.value()
        if not text.goes_on("]"):
            return


class _Text:
    """The file as text with a position; more of it is fetched when what is there does not suffice."""

    def __init__(self, storage: Storage, uri: str, piece_bytes: int) -> None:
        self._storage, self._uri, self._piece_bytes = storage, uri, piece_bytes
        info = storage.head(uri)
        self._size_bytes, self._etag = info.size_bytes, info.etag
        self._fetched_bytes = 0
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._buffer, self._position = "", 0

    def value(self) -> Any:  # noqa: ANN401
        """The JSON value that begins here."""
        self._skip_blanks()
        while True:
            try:
                value, end = self._scan(self._buffer, self._position)
            except json.JSONDecodeError as error:
                if not self._fetch():
                    raise self.error(str(error)) from error
                continue
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
            f"{self._uri}: no JSON file of records near byte {max(0, self._fetched_bytes - behind)}: {what}"
        )

    def _skip_blanks(self) -> None:
        while True:
            blanks = _BLANKS.match(self._buffer, self._position)
            self._position = blanks.end() if blanks else self._position
            if self._position < len(self._buffer) or not self._fetch():
                return

    def _fetch(self) -> bool:
        """Append the next piece; False at the end of the file."""
        if self._fetched_bytes >= self._size_bytes:
            return False
        end = min(self._size_bytes, self._fetched_bytes + self._piece_bytes)
        data = self._storage.read_range(self._uri, self._fetched_bytes, end, self._etag)
        self._fetched_bytes = end
        try:
            piece = self._decode(data, final=end == self._size_bytes)
        except UnicodeDecodeError as error:
            raise self.error("not UTF-8 text") from error
        self._buffer, self._position = self._buffer[self._position :] + piece, 0
        return True
