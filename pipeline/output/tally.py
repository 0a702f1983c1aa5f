"""Where a run stands: what its receipts add up to."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.output.person_count import PersonCount
from posrefine.errors import ImageStatus

__all__ = ["RunTally"]


@dataclass(frozen=True)
class RunTally:
    """Where a run stands.

    Attributes:
        units_total: units of the manifest.
        units_done: committed units, those of earlier runs included.
        images: images of this run by status.
        people: persons found in this run.
        min_score: from which they are counted.
        elapsed_s: seconds of this run.
        startup_s: the part of them before the first unit was begun, while workers and actors started.
        images_per_s: over this run, start-up included.
        images_per_s_now: over the last half minute.
        remaining_s: estimated seconds to the last unit; None before the first receipt.
        efficiency: images/s after start-up over `bare_images_per_s`: the part of the cluster's processors'
            time that the network had; None at first.
        bare_images_per_s: images/s of bare predictors on all GPUs of the cluster, or on all its cores, by the
            processors' time that an image took; of a cluster that grew or shrank, on as many as it had on an
            average after start-up. None at first.
        stage_seconds: seconds of all workers together by stage; `predictor` is a part of `infer`.
        prepare_seconds: how actors made the network ready, and the seconds of the slowest of them.
    """

    units_total: int
    units_done: int
    images: dict[ImageStatus, int]
    people: PersonCount
    min_score: float
    elapsed_s: float
    startup_s: float
    images_per_s: float
    images_per_s_now: float
    remaining_s: float | None
    efficiency: float | None
    bare_images_per_s: float | None
    stage_seconds: dict[str, float]
    prepare_seconds: dict[str, float]

    @property
    def images_done(self) -> int:
        """Images of this run, failed ones included."""
        return sum(self.images.values())

    @property
    def images_failed(self) -> int:
        """Images of this run without keypoints."""
        return self.images_done - self.images.get(ImageStatus.OK, 0)
