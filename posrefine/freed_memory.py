"""Keeping freed memory in the process that will want it again."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

__all__ = ["keep_freed_memory"]

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT_BYTES = 2**30


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Lets glibc reuse freed blocks of up to 32 MiB instead of returning them to the system every time.

    Images and maps of about a megabyte come and go all the time, and the system clears each page anew. A
    process keeps what it once needed, 1 GiB at most. Elsewhere than on Linux nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
