"""Addresses without their secrets: whatever the project prints or stores passes here.

Addresses can carry secrets in two places: before an '@' (`s3://key:secret@bucket`, `user:password@host`), and
in their query (`?X-Amz-Signature=`, `?token=`).

Keys of objects and names of files may hold an '@', too. What stands before one is taken for a secret

- behind a scheme, as in `http://name@host` or `//name@host`, up to the first slash;
- behind a scheme and `name:`, slashes and blanks included, unless a port follows; before a slash that is a
  number which web servers are found at (80, 443, 1024 to 65535), and buckets have none:
  `http://user:12/34@host` has a password, `http://host:8080/a@b` a path;
- without a scheme in `name:password@host`, and in `name:pass/word@host:9091` and `token@host:9091`, which
  such a port behind the host tells from `images/a:b@2x.jpg` and `name@example.org`.

So a password that begins like such a port and a slash is not recognised, nor is one with quotes or the end of
a line in it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["HIDDEN", "holds_credentials", "redacted", "redacted_values"]

HIDDEN = "***"

# An address goes no further than its line, and not beyond quotes around it.
_STRETCH = re.compile(r"""[^\r\n'"<>]+""")
# Where an address may begin. They are mistyped with a slash too few or too many, and without their scheme. No
# scheme is as long as the bound, without which a long word would be looked through from each of its letters.
_START = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}:/{1,3} | (?<![^\s='"(,\[])//) | (?P<s3>\bs3:(?=[^\s/]))
        | (?<![^\s='"(,\[])(?=(?P<name>[^\s/:@='"(,\[]+)={0,2}(?P<behind>[:@]))""",
    re.VERBOSE | re.IGNORECASE,
)
_MARKS = {mark: re.compile(mark) for mark in ("@", "/", ":")} | {
    " ": re.compile(r"\s"),
    "?": re.compile(r"[?#]"),
}
_NUMBER = re.compile(r"([0-9]+)[:,.;)\]]*(/|[\s?#]|$)")
_HOST = re.compile(r"[\w\[]")
_HOST_WITH_PORT = re.compile(r"(?:\[[0-9a-f:.]+\]|[\w.-]+):([0-9]{1,5})(?!\w)", re.IGNORECASE)
_WEB_PORTS, _FREE_PORTS, _LONGEST_PORT = (80, 443), range(1024, 65536), 5

_SECRET_NAMES = (
    r"(?:[\w.%-]*(?:sig|signature|token|secret|passw(?:or)?d|passphrase|pwd|credential|jwt|bearer|auth"
    r"|authorization|(?:api|access|secret|private|account|shared|subscription)[_-]?key(?:[_-]?id)?)"
    r"|(?:[\w.%-]*[_.-])?pass|key)"
)
_QUERY = re.compile(
    rf"""(?P<name>[?&;\#]{_SECRET_NAMES}=)(?P<value>[^\s&;\#'"<>]*)""",
    re.IGNORECASE,
)
_OF_THE_SENTENCE = ":,.)"
"""Punctuation behind an address, which is no part of it."""


def redacted(text: str) -> str:
    """The text with the secrets of all addresses in it replaced by `***`; all else stays as it is."""
    if "@" in text:
        pieces, done = [], 0
        for secret in _secrets(text):
            pieces += [text[done : secret.start], HIDDEN]
            done = secret.end
        text = "".join([*pieces, text[done:]])
    return _QUERY.sub(_without_value, text) if "=" in text else text


def redacted_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of every text in plain data: mappings, sequences and texts, however deep."""
    return {name: _redacted_value(value) for name, value in values.items()}


def _redacted_value(value: object) -> object:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return redacted_values(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_redacted_value, value))
    return value


def holds_credentials(value: str) -> bool:
    """Whether an address has something before an '@' of its authority: a user, a key, a password.

    `name@example.org` without a scheme or port may be a file or a key as well, and is allowed; so is
    `http://host:8080/a@b`, whose '@' is one of the path.
    """
    return any(secret.address == 0 for secret in _secrets(value))


class _Secret(NamedTuple):
    """Part of a text: [start, end), and where the address that it is of begins."""

    start: int
    end: int
    address: int


def _secrets(text: str) -> Iterator[_Secret]:
    """What stands before the '@' of addresses, from left to right."""
    for stretch in _STRETCH.finditer(text):
        if "@" in stretch[0]:
            yield from _secrets_between(text, stretch.start(), stretch.end())


def _secrets_between(text: str, first: int, end: int) -> Iterator[_Secret]:
    marks, done = _Marks(text, first, end), first
    for start in _START.finditer(text, first, end):
        if start.start() < done:
            continue
        if start["scheme"] is not None:
            is_s3 = start["scheme"].rstrip("/").lower().endswith("s3:")
            hidden, at = start.end(), _end_behind_scheme(marks, start.end(), is_s3=is_s3)
        elif start["s3"] is not None:
            # Without a slash it may be a name as well as a scheme.
            hidden, at = start.start(), _end_behind_scheme(marks, start.end(), is_s3=True)
        else:
            hidden, at = start.start(), _end_of_bare(marks, start.start("behind"))
        if at is not None:
            done = at
            yield _Secret(hidden, at, start.start())


class _Marks:
    """Where the marks of addresses stand in [first, end) of a text.

    They are looked for once: each of many beginnings then finds its '@' without going over the text again.
    """

    def __init__(self, text: str, first: int, end: int) -> None:
        self.text, self.end = text, end
        self._places = {
            mark: [found.start() for found in pattern.finditer(text, first, end)]
            for mark, pattern in _MARKS.items()
        }
        ats = self._places["@"]
        self._places["host"] = [at for at in ats if _HOST.match(text, at + 1, end)]
        self._places["host:port"] = [at for at in ats if self._is_before_port(at)]

    def _is_before_port(self, at: int) -> bool:
        found = _HOST_WITH_PORT.match(self.text, at + 1, self.end)
        return found is not None and _is_web_port(found[1])

    def next(self, marks: str, start: int) -> int:
        """Place of the first of several marks from `start` on; the end where there is none."""
        return min(self._next(mark, start) for mark in marks)

    def _next(self, mark: str, start: int) -> int:
        places = self._places[mark]
        index = bisect_left(places, start)
        return places[index] if index < len(places) else self.end

    def last(self, mark: str, start: int, end: int) -> int | None:
        """Place of the last such mark in [start, end)."""
        places = self._places[mark]
        index = bisect_left(places, end) - 1
        return places[index] if index >= 0 and places[index] >= start else None


def _end_behind_scheme(marks: _Marks, start: int, *, is_s3: bool) -> int | None:
    """The '@' behind the secret of an address whose scheme ends at `start`; None where it has none."""
    colon = marks.next(":/?@ ", start)
    has_colon = marks.text.startswith(":", colon) and not marks.text.startswith("[", start)
    number = None if is_s3 else _NUMBER.match(marks.text, colon + 1, marks.end)
    is_port = number is not None and (number[2] != "/" or _is_web_port(number[1]))
    if not has_colon or is_port:
        return marks.last("@", start, marks.next("/? ", start))
    end = marks.next("? ", colon)
    at = marks.last("@", colon, end)
    if at is None and number is None and end > colon + 1:
        # A password may have a blank, '?' or '#' in it, which should be written otherwise.
        beyond = marks.next("@", colon)
        at = marks.last("@", beyond, marks.next("? ", beyond))
    return at


def _end_of_bare(marks: _Marks, behind: int) -> int | None:
    """The '@' behind the secret of an address without a scheme, whose first name ends at `behind`."""
    if marks.text[behind] == "@":
        return marks.last("host:port", behind, behind + 1)
    at = marks.last("host", behind + 2, marks.next("/ ", behind))
    if at is None and not marks.text.startswith("/", behind + 1):
        at = marks.last("host:port", behind + 2, marks.next(" ", behind))
    return at


def _is_web_port(digits: str) -> bool:
    number = int(digits) if len(digits) <= _LONGEST_PORT and digits[0] != "0" else 0
    return number in _WEB_PORTS or number in _FREE_PORTS


def _without_value(found: re.Match[str]) -> str:
    value = found["value"]
    return found["name"] + HIDDEN + value[len(value.rstrip(_OF_THE_SENTENCE)) :]
