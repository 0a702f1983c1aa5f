"""Objects as files of local (or mounted) disks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from uuid import uuid4

from pipeline.storage.base import ObjectInfo, StorageOptions
from posrefine.errors import (
    ConditionUnsupported,
    ConfigurationError,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StorageError,
)

__all__ = ["LocalStore"]

_UNFINISHED = ".unfinished"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_LOOK_AGAIN_S = 0.01


class LocalStore:
    """A `Store` over files.

    A file is written beside its place, synchronised, and then moved (`put`) or hard-linked (`create`, which
    the file system grants to one writer only) into it, so no reader meets a part of it and no crash leaves
    one.
    """

    def __init__(self, options: StorageOptions) -> None:
        self._options = options

    def read(self, uri: str, start: int | None, end: int | None, etag: str | None) -> bytes:
        """The whole file or its bytes [start, end)."""
        with _errors_named(uri, "read"), Path(uri).open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            _require_same(uri, before, etag)
            first, last = start or 0, before.st_size if end is None else end
            data = _read_fully(file.fileno(), first, last)
            _require_same(uri, os.fstat(file.fileno()), _etag(before))
        if len(data) != last - first:
            raise ObjectChanged(f"{uri}: bytes {first} to {last} wanted, the file has {before.st_size}")
        return data

    def put(self, uri: str, data: bytes) -> None:
        """Write the file, in place of one that is there."""
        with _errors_named(uri, "write"), _written_beside(Path(uri), data) as unfinished:
            unfinished.replace(uri)

    def put_file(self, uri: str, path: Path) -> None:
        """Copy the file, in place of one that is there."""
        with (
            path.open("rb") as source,
            _errors_named(uri, "write"),
            _written_beside(Path(uri), source) as unfinished,
        ):
            unfinished.replace(uri)

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        """Write the file in place of the one with that etag; its writers take turns by the folder's lock.

        Raises:
            ConditionUnsupported: the file system has no locks; `Storage.probe_conditions` finds that out.
        """
        path = Path(uri)
        with (
            _errors_named(uri, "replace"),
            _written_beside(path, data) as unfinished,
            self._turn(path.parent),
        ):
            try:
                _require_same(uri, path.stat(), etag)
            except FileNotFoundError as error:
                raise ObjectMissing(f"{uri}: there is no such file") from error
            new = _etag(unfinished.stat())
            unfinished.replace(uri)
            return new

    def create(self, uri: str, data: bytes) -> str:
        """Write the file unless there is one with other bytes."""
        path = Path(uri)
        with _errors_named(uri, "create"), _written_beside(path, data) as unfinished:
            is_mine = self._move_if_free(unfinished, path)
            if not is_mine and path.read_bytes() != data:
                raise ObjectExists(f"{uri}: exists already")
            return _etag(path.stat())

    def create_file(self, uri: str, path: Path) -> None:
        """Copy the file unless there is one."""
        with (
            path.open("rb") as source,
            _errors_named(uri, "create"),
            _written_beside(Path(uri), source) as unfinished,
        ):
            if not self._move_if_free(unfinished, Path(uri)):
                raise ObjectExists(f"{uri}: exists already")

    @contextmanager
    def _turn(self, folder: Path) -> Iterator[None]:
        """The block has the folder's lock, which its holder loses with its process; others wait for it.

        Without conditional replaces there are no turns: then writers only look before they move.
        """
        if not self._options.conditional_replaces:
            yield
            return
        descriptor, until = os.open(folder, os.O_RDONLY), time.monotonic() + self._options.deadline_s
        try:
            while not _is_locked_now(descriptor, folder):
                if time.monotonic() > until:
                    raise BlockingIOError(errno.EWOULDBLOCK, "other writers hold the folder's lock")
                time.sleep(_LOOK_AGAIN_S)
            yield
        finally:
            os.close(descriptor)

    def _move_if_free(self, unfinished: Path, path: Path) -> bool:
        if not self._options.create_only_puts:
            is_free = not path.exists()
            if is_free:
                unfinished.replace(path)
            return is_free
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise ConditionUnsupported(f"{path}: this file system has no hard links: {error}") from error
        return True

    def delete(self, uri: str) -> None:
        """Remove the file if it is there."""
        with _errors_named(uri, "delete"):
            Path(uri).unlink(missing_ok=True)

    def head(self, uri: str) -> ObjectInfo:
        """Size and stand-in etag of the file."""
        with _errors_named(uri, "look up"):
            stat = Path(uri).stat()
        if not S_ISREG(stat.st_mode):
            raise ObjectMissing(f"{uri}: is not a file")
        return ObjectInfo(uri, stat.st_size, _etag(stat))

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """The files below a folder, links followed, in byte order of their paths as S3 lists keys."""
        if Path(uri).is_dir():
            yield from _walk(uri, ancestors=())


def _is_locked_now(descriptor: int, folder: Path) -> bool:
    """Whether this process has the folder's lock from now on; others may have it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConditionUnsupported(f"{folder}: this file system locks no folder: {error}") from error
    return True


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"


def _require_same(uri: str, stat: os.stat_result, etag: str | None) -> None:
    if etag is not None and _etag(stat) != etag:
        raise ObjectChanged(
            f"{uri}: is now {_etag(stat)} (size-modified), {etag} was pinned; restore the file, or start a "
            "new run for the new input"
        )


def _read_fully(descriptor: int, first: int, last: int) -> bytes:
    pieces, position = [], first
    while position < last:
        piece = os.pread(descriptor, last - position, position)
        if not piece:
            break
        pieces.append(piece)
        position += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def _written_beside(path: Path, data: bytes | BinaryIO) -> Iterator[Path]:
    """A synchronised file in the folder of `path`, with `data`: bytes, or what an open file has left.

    Gone afterwards; its new name is durable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{uuid4().hex}{_UNFINISHED}"
    try:
        with unfinished.open("xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                shutil.copyfileobj(data, file)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse to synchronise a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
    with _errors_named(folder, "list"):
        here = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=_key_order)
    if (here.st_dev, here.st_ino) in ancestors:
        raise ConfigurationError(f"{folder}: this link leads back to a folder above it; remove the link")
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, (*ancestors, (here.st_dev, here.st_ino)))
        elif not entry.name.endswith(_UNFINISHED):
            yield from _listed(entry)


def _key_order(entry: os.DirEntry[str]) -> bytes:
    """Sorts a folder's name with its slash, which makes the walk agree with the byte order of whole keys."""
    return os.fsencode(entry.name) + (b"/" if entry.is_dir() else b"")


def _listed(entry: os.DirEntry[str]) -> Iterator[ObjectInfo]:
    """The entry if it is a file; a dangling link is listed too, so that it is reported missing when read."""
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{entry.path!r}: the name is not UTF-8; rename the file") from error
    try:
        stat = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            yield ObjectInfo(entry.path, 0, "")
        return
    if S_ISREG(stat.st_mode):
        yield ObjectInfo(entry.path, stat.st_size, _etag(stat), stat.st_mtime)


@contextmanager
def _errors_named(uri: str, operation: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StorageError(f"{uri}: {operation} refused: {error.strerror}; give this user access") from error
    except OSError as error:
        is_absent = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if is_absent and operation in ("read", "look up"):
            raise ObjectMissing(f"{uri}: there is no such file") from error
        raise StorageError(f"{uri}: {operation} failed: {error}; check the path, disk and mount") from error
