"""Where each generation of a standing data set stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from pipeline.inputs.changes import changes_in_words
from pipeline.output.drift import Drift, Moved
from pipeline.output.generations import Generation

__all__ = ["GenerationStatus"]


class GenerationStatus(BaseModel):
    """What `status --json` says of a generation.

    Attributes:
        generation: its number.
        planned_at: when its input was compared with what was known.
        new: images and shards that were not there; of the first, its images as far as listing told.
        stale: that had become others.
        orphaned: that were gone.
        units_total: units that it annotates.
        units_done: those that are finished.
        images: in them.
        failed: those without keypoints.
        images_per_s: from its first commit to its last; None where these lie too near to tell.
        published: whether the tables hold it.
        means: of what is measured of its images, by name; empty where it is not published.
        drift: what of it is unlike the generations before, by more than chance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int
    planned_at: datetime
    new: int
    stale: int
    orphaned: int
    units_total: int
    units_done: int
    images: int
    failed: int
    images_per_s: float | None
    published: bool
    means: dict[str, float]
    drift: tuple[Moved, ...]

    @staticmethod
    def of(
        generation: Generation,
        units_done: int,
        images: int,
        failed: int,
        images_per_s: float | None,
        *,
        published: bool,
        drift: Drift | None,
    ) -> GenerationStatus:
        """Of a generation, and what its units say."""
        return GenerationStatus(
            generation=generation.number,
            planned_at=generation.planned_at,
            new=generation.new,
            stale=generation.stale,
            orphaned=generation.orphaned,
            units_total=generation.units,
            units_done=units_done,
            images=images,
            failed=failed,
            images_per_s=images_per_s,
            published=published,
            means={} if drift is None else drift.means,
            drift=() if drift is None else drift.moved,
        )

    def lines(self) -> Iterator[str]:
        """For people."""
        words = changes_in_words(self.new, self.stale, self.orphaned)
        speed = "" if self.images_per_s is None else f", {self.images_per_s:,.1f} images/s"
        state = "published" if self.published else f"{self.units_done:,} of {self.units_total:,} units done"
        yield (
            f"{self.generation:>9,} {self.planned_at:%Y-%m-%d %H:%M}  {words}; {self.images:,} annotated, "
            f"{self.failed:,} failed{speed}; {state}"
        )
        for moved in self.drift:
            yield f"{'':>9} drift: {moved.words()}"
