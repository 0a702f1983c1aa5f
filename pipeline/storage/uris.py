"""Addresses of objects: `s3://bucket/key`, and for local files the absolute path.

Keys are taken as they are: nothing is decoded or resolved in an `s3://` address. `file://` addresses are
percent-decoded, as `Path.as_uri` writes them.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from posrefine.errors import ConfigurationError

__all__ = ["is_inside", "is_s3", "join_uri", "normalise_uri", "require_apart", "split_s3", "suffix_of"]


# An address with a slash missing would become a folder here, called `s3:`.
_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/(?!/)|(?:s3|gs|file|https?):(?!//)", re.IGNORECASE)


def normalise_uri(uri: str) -> str:
    """The one spelling of an address: no trailing slash, local paths absolute and without `file://`.

    Raises `ConfigurationError` for an empty address, a scheme that is not supported or a missing bucket.
    """
    scheme, separator, rest = uri.partition("://")
    if not uri:
        raise ConfigurationError("an address is empty; give a local path or s3://bucket/prefix")
    if "\0" in uri:
        raise ConfigurationError(f"{uri!r}: no file or s3://bucket/key has a NUL in its name; correct it")
    if _MISTYPED.match(uri):
        raise ConfigurationError(
            f"{uri}: is neither a path nor an address; expected s3://bucket/prefix, file:///path, or ./NAME "
            "for a file or folder of such a name"
        )
    if not separator:
        return _absolute(uri)
    if scheme == "file":
        return _absolute(unquote(rest.removeprefix("localhost")))
    if scheme != "s3":
        raise ConfigurationError(
            f"{uri}: storage '{scheme}' is not supported; use a local path, file:// or s3://"
        )
    if not rest.strip("/") or rest.startswith("/"):
        raise ConfigurationError(f"{uri}: no bucket; expected s3://bucket/prefix")
    return uri.rstrip("/")


def _absolute(path: str) -> str:
    # POSIX lets two slashes at the front mean something else; nowhere do they, and a path has one spelling.
    return re.sub("^//", "/", os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def is_s3(uri: str) -> bool:
    """Whether the address is in an S3 store."""
    return uri.startswith("s3://")


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` address; the key is empty for the bucket itself."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def join_uri(root: str, *parts: str) -> str:
    """The address of something below `root`."""
    return "/".join([root.rstrip("/"), *parts])


def suffix_of(key: str) -> str:
    """The lower-case suffix of a key with its dot, or an empty string."""
    return PurePosixPath(key).suffix.lower()


def is_inside(uri: str, folder: str) -> bool:
    """Whether normalised `uri` is `folder` or lies below it."""
    return uri == folder or uri.startswith(folder.rstrip("/") + "/")


def require_apart(input_uri: str, output_uri: str) -> None:
    """Raise `ConfigurationError` where input and output contain one another.

    An output inside the input would be listed as input the next time; an input inside the output could be
    taken for results.
    """
    source, target = normalise_uri(input_uri), normalise_uri(output_uri)
    if is_inside(target, source) or is_inside(source, target):
        raise ConfigurationError(
            f"input {source} and output {target} lie inside one another; choose an output outside the input"
        )
