"""Columns with rows per image and rows per detection, which parts of a data set can be merged from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.persons import ranges_to_indices

__all__ = ["PerImage"]


@dataclass(frozen=True)
class PerImage:
    """Rows of I images, and of their D detections image by image; subclasses add columns and name them.

    Attributes:
        image_ids: [I] int64, ascending, each once.
        detections_per_image: [I] int32.
    """

    image_columns: ClassVar[tuple[str, ...]] = ("image_ids", "detections_per_image")
    detection_columns: ClassVar[tuple[str, ...]] = ()

    image_ids: NDArray[np.int64]
    detections_per_image: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def detection_image(self) -> NDArray[np.int64]:
        """[D] int64, position of each detection's image."""
        return np.repeat(np.arange(len(self)), self.detections_per_image)

    def select(self, images: NDArray[np.int64]) -> Self:
        """The images at the given positions; the caller keeps their ids ascending."""
        counts = self.detections_per_image.astype(np.int64)
        rows = ranges_to_indices((np.cumsum(counts) - counts)[images], counts[images])
        columns: dict[str, Any] = {name: getattr(self, name)[images] for name in self.image_columns}
        columns |= {name: getattr(self, name)[rows] for name in self.detection_columns}
        return replace(self, **columns)

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """All images, each once: of an image found in several parts, the earliest one's rows count."""
        if not parts:
            raise ValueError(f"{cls.__name__}.merge: expected at least one part, got none")
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*cls.image_columns, *cls.detection_columns)
        }
        joined = replace(parts[0], **columns)
        return joined.select(np.unique(joined.image_ids, return_index=True)[1])
