"""Ways in which decoding an image ends or harms its process, for processes that tests start.

A process gets them by unpickling a `BadDecoder`: images that begin with `ends: ` and a way meet it there.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from pipeline.ground_truth.image_names import NamedImages, NumericNames

__all__ = ["WAYS", "BadDecoder", "image_that", "install"]


def _raise_memory_error() -> None:
    raise MemoryError


WAYS: dict[str, Callable[[], object]] = {
    "crash": lambda: ctypes.string_at(0),
    "exit": lambda: ctypes.CDLL(None).exit(3),
    "_exit": lambda: ctypes.CDLL(None)._exit(3),
    "exit well": lambda: ctypes.CDLL(None)._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "no memory": _raise_memory_error,
}
"""What a decoder does to its process, by name."""


def image_that(way: str) -> bytes:
    """The bytes of an image whose decoder does that."""
    return f"ends: {way}".encode()


def install() -> None:
    """Have this process's decoder do so."""
    from pipeline.inputs import readers

    decode = readers.decode_image

    def decode_or_end(data: bytes, **rules: object) -> object:
        if data.startswith(b"ends: "):
            WAYS[data[6:].decode()]()
        return decode(data, **rules)  # type: ignore[arg-type]

    readers.decode_image = decode_or_end  # type: ignore[assignment]


class BadDecoder:
    """To be sent to a process in the place of `NumericNames`, which it is there."""

    def __reduce__(self) -> tuple[Callable[[], NamedImages], tuple[()]]:
        return (_arrived, ())


def _arrived() -> NamedImages:
    install()
    return NumericNames()
