"""Which annotated image a file is, by its name: arrays, so that workers share one copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_IMAGE", "ImageIndex"]

NO_IMAGE = -1


@dataclass(frozen=True)
class ImageIndex:
    """Annotated file names, whole and without their folders (where that is unambiguous), and their ids.

    Attributes:
        names: [N] UTF-8 bytes, ascending.
        ids: [N] int64.
    """

    names: NDArray[np.bytes_]
    ids: NDArray[np.int64]

    @staticmethod
    def of(names: Mapping[str, int]) -> ImageIndex:
        """Index of file names as the annotation file gives them."""
        bases = Counter(map(_base, names))
        by_name = {_base(name): image_id for name, image_id in names.items()}
        by_name = {name: image_id for name, image_id in by_name.items() if bases[name] == 1} | dict(names)
        keys = np.array([name.encode() for name in by_name], np.bytes_)
        order = np.argsort(keys)
        return ImageIndex(keys[order], np.array(list(by_name.values()), np.int64)[order])

    def find(self, image_keys: Sequence[str]) -> NDArray[np.int64]:
        """[N] int64 ids of image keys, whole or by their last part; `NO_IMAGE` where neither is listed."""
        whole = self._lookup([key.encode() for key in image_keys])
        base = self._lookup([_base(key).encode() for key in image_keys])
        return np.where(whole == NO_IMAGE, base, whole)

    def _lookup(self, keys: list[bytes]) -> NDArray[np.int64]:
        if not keys or len(self.names) == 0:
            return np.full(len(keys), NO_IMAGE, np.int64)
        wanted = np.array(keys, np.bytes_)
        position = np.minimum(np.searchsorted(self.names, wanted), len(self.names) - 1)
        return np.where(self.names[position] == wanted, self.ids[position], NO_IMAGE)


def _base(name: str) -> str:
    """The last part of a path, as image keys have it."""
    return name.rpartition("/")[2]
