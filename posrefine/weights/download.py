"""Fetch a file of the zoo once into a cache: resumed where it broke off, checked, published by one rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from posrefine.errors import DownloadFailed, WeightsError
from posrefine.weights.zoo import ZooEntry

__all__ = ["Progress", "cache_directory", "fetch"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes at hand and, where the server says, the bytes in all."""

_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_LOG_INTERVAL_S = 5.0
_RETRIED_STATUSES = {408, 416, 429, 500, 502, 503, 504}


def cache_directory() -> Path:
    """`POSREFINE_CACHE`, or `posrefine` under XDG_CACHE_HOME, or `~/.cache/posrefine`."""
    if named := os.environ.get("POSREFINE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "posrefine"


def fetch(
    entry: ZooEntry,
    *,
    directory: Path | None = None,
    progress: Progress | None = None,
    retry_delay_s: float = 1.0,
) -> Path:
    """The entry's file on disk, downloaded if neither the package nor the cache holds it.

    Processes that ask for the same file at once wait for one of them to download it. A broken transfer is
    continued by a later attempt, also by a later process.

    Args:
        entry: what to fetch.
        directory: where to keep it; by default `cache_directory()`.
        progress: told about every chunk; by default the log is, every few seconds.
        retry_delay_s: pause before the second attempt, doubled for each further one.

    Raises:
        DownloadFailed: the address cannot be reached, or has another file than the zoo lists.
        WeightsError: the cache cannot be written, or what it holds is not that file.
    """
    if entry.bundled is not None:
        return entry.bundled
    directory = directory or cache_directory()
    target = directory / entry.file_name
    if target.exists():
        return _checked(target, entry)
    with _alone(directory, target):
        if not target.exists():
            _download(entry, target, progress or _Logged(entry, directory), retry_delay_s)
        return _checked(target, entry)


class _Logged:
    """Says in the log that a download begins, how far it is, and that it ended."""

    def __init__(self, entry: ZooEntry, directory: Path) -> None:
        self._name, self._due = entry.name, 0.0
        logger.info("weights %s: downloading %s to %s", entry.name, entry.url, directory)

    def __call__(self, at_hand: int, total: int | None) -> None:
        now, whole = time.monotonic(), at_hand == total
        if now < self._due and not whole:
            return
        self._due = now + _LOG_INTERVAL_S
        of_all = "" if total is None else f" of {total / 1e6:,.1f} MB ({int(100 * at_hand / total)}%)"
        logger.info("weights %s: %s%s", self._name, f"{at_hand / 1e6:,.1f} MB", of_all)


@contextlib.contextmanager
def _alone(directory: Path, target: Path) -> Iterator[None]:
    """Holds the file's lock; the system releases it when the holder dies."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / f"{target.name}.lock").open("w")
    except OSError as error:
        raise WeightsError(
            f"weights cache {directory}: cannot be written ({error.strerror}); set POSREFINE_CACHE to "
            f"a directory that can, and holds {target.name} or has room for it"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(entry: ZooEntry, target: Path, progress: Progress, retry_delay_s: float) -> None:
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _complete(entry, part, progress, retry_delay_s)
    if resumed and not _sha256(part).startswith(entry.sha256_prefix):
        # The beginning may be from another version of the file.
        part.unlink()
        _complete(entry, part, progress, retry_delay_s)
    found = _sha256(part)
    if not found.startswith(entry.sha256_prefix):
        part.unlink()
        raise DownloadFailed(
            f"weights {entry.name}: {entry.url} has sha256 {found[:8]}..., wanted {entry.sha256_prefix}...; "
            "the download was discarded: something between here and the server changes files, or the "
            "publisher replaced it"
        )
    part.replace(target)


def _complete(entry: ZooEntry, part: Path, progress: Progress, retry_delay_s: float) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _append(entry, part, progress)
            return
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS or _is_final(error):
                raise DownloadFailed(_unreachable(entry, part, error)) from error
        time.sleep(retry_delay_s * 2 ** (attempt - 1))


def _is_final(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code not in _RETRIED_STATUSES


def _append(entry: ZooEntry, part: Path, progress: Progress) -> None:
    """One attempt: ask for what is missing and write it behind what is there."""
    at_hand = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry.url, headers={"Range": f"bytes={at_hand}-"} if at_hand else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # All bytes are there, or more than all: begin anew rather than guess.
            part.unlink()
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            at_hand = 0
        length = response.headers.get("Content-Length")
        _write(response, part, at_hand, at_hand + int(length) if length else None, progress)


def _write(
    response: http.client.HTTPResponse, part: Path, at_hand: int, total: int | None, progress: Progress
) -> None:
    with part.open("r+b" if at_hand else "wb") as file:
        file.seek(at_hand)
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            at_hand += len(chunk)
            progress(at_hand, total)
    if total is not None and at_hand < total:
        raise ConnectionError(f"the connection ended after {at_hand} of {total} bytes")


def _unreachable(entry: ZooEntry, part: Path, error: Exception) -> str:
    target = part.with_suffix("")
    return (
        f"weights {entry.name}: {entry.url} could not be downloaded ({error}). "
        "On a machine that reaches it run\n"
        f"    curl -fLO {entry.url}\n"
        f"then copy the file to {target} (POSREFINE_CACHE moves this directory), or name it instead of "
        f"{entry.name}"
    )


def _checked(target: Path, entry: ZooEntry) -> Path:
    found = _sha256(target)
    if not found.startswith(entry.sha256_prefix):
        raise WeightsError(
            f"weights {entry.name}: the cached file {target} has sha256 {found[:8]}..., wanted "
            f"{entry.sha256_prefix}...; delete it, and it will be downloaded again from {entry.url}"
        )
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
