"""Reading a stretch of an object in large blocks, the next of which is on its way while one is used."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from pipeline.storage.storage import Storage

__all__ = ["ReadAhead"]

_BLOCK_BYTES = 16 * 2**20
_TAIL_BYTES = 1 * 2**20
_BLOCKS_KEPT = 3


class ReadAhead:
    """Random access to an object, tuned for walking through [first, last) once.

    Holds three blocks of 16 MiB at most. What lies behind `last` (the rest of the last member) is read in
    blocks of 1 MiB when asked for. Use as a context manager; it ends its thread.
    """

    def __init__(
        self, storage: Storage, uri: str, etag: str | None, size_bytes: int, first: int, last: int
    ) -> None:
        self.uri = uri
        self.size_bytes = size_bytes
        self._storage, self._etag = storage, etag
        self._first, self._last = first, last
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, position: int, length: int) -> bytes:
        """Bytes [position, position + length), fewer only at the end of the object."""
        end = min(position + length, self.size_bytes)
        pieces = []
        while position < end:
            low, high = self._bounds(position)
            piece = self._block(low, high)[position - low : end - low]
            pieces.append(piece)
            position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _bounds(self, position: int) -> tuple[int, int]:
        """The block that holds a byte."""
        if self._first <= position < self._last:
            low = position - (position - self._first) % _BLOCK_BYTES
            return low, min(low + _BLOCK_BYTES, self._last)
        low = position - (position - self._last) % _TAIL_BYTES
        return max(0, low), min(low + _TAIL_BYTES, self.size_bytes)

    def _block(self, low: int, high: int) -> bytes:
        block = self._start(low, high)
        if high < self._last:
            self._start(*self._bounds(high))
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block.result()

    def _start(self, low: int, high: int) -> Future[bytes]:
        if low not in self._blocks:
            self._blocks[low] = self._pool.submit(self._storage.read_range, self.uri, low, high, self._etag)
        self._blocks.move_to_end(low)
        return self._blocks[low]
