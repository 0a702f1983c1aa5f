"""What images look like, in numbers that add up: from them drift is told without reading a table again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from posrefine.errors import ImageStatus

__all__ = ["MEASURES", "Histogram", "Measures", "bins_of", "values_by_image"]

MEASURES: Mapping[str, str] = {
    "persons": "persons an image",
    "score": "score",
    "spread": "spread of the views, of a person's size",
    "size": "person's size, of the image's",
    "side_px": "longer side, px",
    "failed": "failed images",
}
"""What is measured of each image, by name, in words."""

_EDGES: Mapping[str, NDArray[np.float64]] = {
    "persons": np.arange(1, 25, dtype=np.float64),
    "score": np.linspace(0, 1, 26)[1:-1],
    "spread": np.geomspace(1e-3, 1, 25),
    "size": np.geomspace(0.01, 1, 25),
    "side_px": np.geomspace(64, 16_384, 25),
    "failed": np.array([0.5]),
}
"""Where one bin ends and the next one begins; the first and the last are open."""


def bins_of(measure: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """The bin of each of these values of a measure, none of them NaN."""
    return np.searchsorted(_EDGES[measure], values, "right")


def values_by_image(
    ok: NDArray[np.bool_],
    frames: tuple[NDArray[np.float64], NDArray[np.float64]],
    image: NDArray[np.int64],
    scores: NDArray[np.float64],
    sizes_px: NDArray[np.float64],
    spread_px: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Each measure of each image.

    Args:
        ok: [N] whether the image did not fail.
        frames: [N] widths and [N] heights, image px; 0 where they are not known.
        image: [P] index of the image of each person that counts.
        scores: [P].
        sizes_px: [P] root of the box's area.
        spread_px: [P] mean over the joints; NaN where the image was seen in one view.

    Returns:
        [N] by name, with the definitions of `Measures`; NaN for images that have no value.
    """

    def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
        which = np.isfinite(values)
        sums = np.bincount(image[which], values[which], len(ok))
        counts = np.bincount(image[which], minlength=len(ok))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    image_px = np.sqrt(np.maximum(frames[0] * frames[1], 1.0))
    return {
        "persons": np.where(ok, np.bincount(image, minlength=len(ok)), np.nan),
        "score": means(scores),
        "spread": means(spread_px / sizes_px),
        "size": means(sizes_px / image_px[image]),
        "side_px": np.where(ok, np.maximum(*frames), np.nan),
        "failed": (~ok).astype(np.float64),
    }


class Histogram(BaseModel):
    """Numbers of images by value.

    Attributes:
        counts: by bin; empty where there is no image.
        total: sum of the values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: tuple[int, ...] = ()
    total: float = 0.0

    @staticmethod
    def of(measure: str, values: NDArray[Any]) -> Histogram:
        """Of these values of a measure, [N], without those that are NaN."""
        values = values[np.isfinite(values)]
        if not len(values):
            return Histogram()
        counts = np.bincount(bins_of(measure, values), minlength=len(_EDGES[measure]) + 1)
        return Histogram(counts=tuple(counts.tolist()), total=float(values.sum(dtype=np.float64)))

    @property
    def images(self) -> int:
        """Images that have a value."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Of the values; None where there are none."""
        return self.total / self.images if self.images else None

    def __add__(self, other: Histogram) -> Histogram:
        if not self.counts or not other.counts:
            return self if self.counts else other
        counts = tuple(one + more for one, more in zip(self.counts, other.counts, strict=True))
        return Histogram(counts=counts, total=self.total + other.total)


class Measures(BaseModel):
    """Of some images, one value an image, since images are what chance draws.

    Persons count from the run's least score on; score, spread and size are means over an image's persons, and
    images without persons have none. All but `failed` are of images that did not fail.

    Attributes:
        persons: number of them.
        score: mean score.
        spread: mean distance of a joint's test-time views, as a share of the person's size (root of its box's
            area); images seen in one view have none.
        size: the person's size as a share of the image's.
        side_px: longer side of the image.
        failed: 1 for failed images, 0 for others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    persons: Histogram = Histogram()
    score: Histogram = Histogram()
    spread: Histogram = Histogram()
    size: Histogram = Histogram()
    side_px: Histogram = Histogram()
    failed: Histogram = Histogram()

    @staticmethod
    def of(rows: pa.Table, min_score: float) -> Measures:
        """Of rows with `UNIT_SCHEMA`; persons below `min_score` do not count."""
        rows = rows.combine_chunks()
        ok = np.asarray(pc.equal(rows["status"], ImageStatus.OK.value))
        sides = [np.asarray(pc.fill_null(rows[name], 0), np.float64) for name in ("width", "height")]
        persons = rows["persons"].combine_chunks()
        parents = np.asarray(pc.list_parent_indices(persons))
        members = persons.flatten()
        scores = np.asarray(pc.struct_field(members, "score"))
        boxes = np.asarray(pc.list_flatten(pc.struct_field(members, "bbox")), np.float64).reshape(-1, 4)
        sizes_px = np.sqrt(np.maximum(boxes[:, 2] * boxes[:, 3], 1.0))
        spread_px = _mean_spread(pc.struct_field(members, "spread_px"))
        counted = scores >= np.float32(min_score)
        values = values_by_image(
            ok,
            (sides[0], sides[1]),
            parents[counted],
            scores[counted].astype(np.float64),
            sizes_px[counted],
            spread_px[counted],
        )
        return Measures(**{name: Histogram.of(name, found) for name, found in values.items()})

    def __add__(self, other: Measures) -> Measures:
        return Measures(**{name: one + getattr(other, name) for name, one in self})


def _mean_spread(spread: pa.ListArray) -> NDArray[np.float64]:
    """[N] of each person's joints, px; NaN where it was seen in one view."""
    # Lists that are null may still have values underneath.
    lengths = np.asarray(pc.fill_null(pc.list_value_length(spread), 0))
    parents = np.repeat(np.arange(len(spread)), lengths)
    values = np.asarray(pc.list_flatten(spread), np.float64)
    known = np.isfinite(values)
    sums = np.bincount(parents[known], values[known], len(spread))
    counts = np.bincount(parents[known], minlength=len(spread))
    found: NDArray[np.float64] = np.full(len(spread), np.nan)
    found[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return found
