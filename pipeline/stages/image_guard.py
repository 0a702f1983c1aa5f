"""What stands around the decoding of one image: images that may not be touched again, and a limit of time.

A decoder that hangs cannot be stopped from within, so its process ends. Before that it tells the ledger which
image it was: the next attempt leaves that one out, and nothing else.

A decoder that ends its process by itself (`exit`, as some C libraries do) leaves no more words than a kill
from outside. Where that happened twice to one image alone, a child of this process decodes it first: how a
child ends can be seen.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.stages.quarantine import OpenAttempt
from posrefine.errors import ImageError, ImageStatus

__all__ = ["ImageGuard"]

# Of a child that decoded the image, well or with an error; no decoder ends its process so.
_CAME_THROUGH = 86


@dataclass(frozen=True)
class ImageGuard:
    """The guard of one attempt; see `ReadOptions.guard`.

    Attributes:
        opened: the attempt, with what earlier ones found out.
        limit_s: time for decoding one image; after it, this process ends.
    """

    opened: OpenAttempt
    limit_s: float

    @contextmanager
    def __call__(self, uri: str) -> Iterator[None]:
        """Around the decoding of the image at `uri`; `ImageError` where it must be left alone."""
        self._require_harmless(uri)
        if self.opened.this.isolated:
            self.opened.touch(uri)
        if uri in self.opened.this.doubtful and self._is_child(uri):
            try:
                yield
            finally:
                os._exit(_CAME_THROUGH)
        watch = threading.Timer(self.limit_s, self._give_up, [uri])
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _require_harmless(self, uri: str) -> None:
        if uri in self.opened.this.timed_out:
            raise ImageError(ImageStatus.TIMEOUT, f"decoding it took longer than {self.limit_s:g} s")
        if uri in self.opened.this.quarantined:
            raise ImageError(ImageStatus.WORKER_DIED, "decoding it killed its worker, again and also alone")

    def _is_child(self, uri: str) -> bool:
        """True in a child that is to decode the image and nothing else; False here, once it came through.

        Raises:
            ImageError: the decoder ended the child.
        """
        with warnings.catch_warnings():
            # Of other threads' locks, which decoding wants none of.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            faulthandler.disable()  # its words would be taken for this process's
            _end_on_exit()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self.limit_s)
            return True
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGALRM:
            self._give_up(uri)
        if code == -signal.SIGKILL:
            os._exit(1)  # most likely for memory, as this process would have been
        if code != _CAME_THROUGH:
            how = f"signal {-code}" if code < 0 else f"it exits with {code}"
            raise ImageError(ImageStatus.WORKER_DIED, f"decoding it ends its process, also alone: {how}")
        return False

    def _give_up(self, uri: str) -> None:
        self.opened.time_out(uri)
        os._exit(1)


_END = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(lambda status, _: os._exit(status & 0xFF))


def _end_on_exit() -> None:
    """Have C's `exit` end this process at once.

    What libraries registered for it would wait for threads that a child does not have. The last to be
    registered is the first to be called. Where there is no `on_exit` (macOS), the child runs out of time.
    """
    register = getattr(ctypes.CDLL(None), "on_exit", None)
    if register is not None:
        register(_END, None)
