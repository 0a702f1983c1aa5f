"""What stands around the decoding of one image: images that may not be touched again, and a limit of time.

A decoder that hangs cannot be stopped from within, so its process ends. Before that it tells the ledger which
image it was: the next attempt leaves that one out, and nothing else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.quarantine import Attempt
from posrefine.errors import ImageError, ImageStatus

__all__ = ["ImageGuard"]


@dataclass(frozen=True)
class ImageGuard:
    """The guard of one attempt of the load stage; see `ReadOptions.guard`.

    Attributes:
        attempt: the attempt, with what earlier ones found out.
        touch: announces the image about to be decoded alone.
        time_out: announces the image whose time is over.
        limit_s: time for decoding one image; after it, this process ends.
    """

    attempt: Attempt
    touch: Callable[[str], None]
    time_out: Callable[[str], None]
    limit_s: float

    @contextmanager
    def __call__(self, uri: str) -> Iterator[None]:
        """Around the decoding of the image at `uri`; `ImageError` where it must be left alone."""
        self._require_harmless(uri)
        if self.attempt.isolated:
            self.touch(uri)
        watch = threading.Timer(self.limit_s, self._give_up, [uri])
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _require_harmless(self, uri: str) -> None:
        if uri in self.attempt.timed_out:
            raise ImageError(ImageStatus.TIMEOUT, f"decoding it took longer than {self.limit_s:g} s")
        if uri in self.attempt.quarantined:
            raise ImageError(ImageStatus.WORKER_DIED, "decoding it killed its worker, again and also alone")

    def _give_up(self, uri: str) -> None:
        self.time_out(uri)
        os._exit(1)
