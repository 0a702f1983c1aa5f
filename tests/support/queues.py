"""Queues of images, as if `select` had chosen them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.output.review_queue import QueuedImage, QueueRecord, Reason, ReviewQueue
from pipeline.output.schema import ImageResult

__all__ = ["chosen_by", "queue_of"]


def queue_of(images: Sequence[ImageResult], control: int) -> ReviewQueue:
    """The images in this order, of which the first so many were drawn at random."""
    queued = [
        QueuedImage(
            rank, image.image_key, None, image.uri, image.width, image.height, image.sha256, Reason.CONTROL,
            None, "drawn", rank < control, 0.5 if rank < control else None, False,
        )
        for rank, image in enumerate(images)
    ]  # fmt: skip
    record = QueueRecord(
        queue_id="q1", run_id="r", generation=1, budget=4, control_share=0.5, per_folder=None, seed=0,
        against=None, images=6, images_ok=6,
    )  # fmt: skip
    return ReviewQueue(record, tuple(queued))


def chosen_by(queue: ReviewQueue, reason: Reason) -> list[QueuedImage]:
    """The images of a queue that are in it for this reason."""
    return [entry for entry in queue.images if entry.reason is reason]
