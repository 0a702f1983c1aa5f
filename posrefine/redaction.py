"""Addresses without their secrets: whatever the project prints or stores passes here.

Addresses can carry secrets in two places: before an '@' (`s3://key:secret@bucket`, `user:password@host`), and
in their query (`?X-Amz-Signature=`, `?token=`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HIDDEN", "holds_credentials", "redacted", "redacted_values"]

HIDDEN = "***"

# A secret key may hold slashes, so behind `scheme://name:` everything up to the '@' counts, unless that looks
# like a port (buckets have none); without a colon only the authority does: keys of objects may hold an '@'.
# Addresses are mistyped with a slash too few or too many, and without their scheme.
_USERINFO = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]*:/{1,3} | \bs3:/{0,3} | (?<![^\s='"(,\[])//)
        (?: (?:(?<=s3:)|(?<=s3:/)|(?<=s3://)|(?<=s3:///))[^\s/?\#@:'"<>]*:[^\s?\#'"<>]*
          | [^\s/?\#@:'"<>]*:(?!\d+(?:[/?\#'"\s]|$))[^\s?\#'"<>]*
          | [^\s/?\#'"<>]* )
        @""",
    re.VERBOSE | re.IGNORECASE,
)
_BARE_USERINFO = re.compile(
    r"""(?<![^\s='"(,\[])[^\s/:@='"(,\[]+:[^\s/'"]+@(?=[\w\[][\w.:\]-]*)""", re.IGNORECASE
)
_SECRET_NAMES = (
    r"[\w.%-]*(?:sig|signature|token|secret|passw(?:or)?d|pwd|credential|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|auth|authorization)"
)
_QUERY = re.compile(
    # Punctuation of the sentence around it is no part of a value.
    rf"""(?P<name>[?&;\#]{_SECRET_NAMES}=)[^\s&;\#'"<>]*?(?=[:,.)]*(?:[\s&;\#'"<>]|$))""",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with the secrets of all addresses in it replaced by `***`; all else stays as it is."""
    if "@" in text:
        text = _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", text)
        text = _BARE_USERINFO.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<name>{HIDDEN}", text) if "=" in text else text


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
    """Whether an address has something before an '@' of its authority: a user, a key, a password."""
    return _USERINFO.match(value) is not None or _BARE_USERINFO.match(value) is not None
