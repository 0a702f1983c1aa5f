"""What a queue asks of people: its images with the poses that the tables have of them by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.output.review_queue import QueuedImage, ReviewQueue, queued_rows, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.labels import PreLabel, ReviewTask

__all__ = ["Tasks", "read_tasks"]


@dataclass(frozen=True)
class Tasks:
    """The tasks of a queue, in its order.

    Attributes:
        queue: that they are of.
        tasks: one an image, without those that are left out.
        left_out: images of the queue that are no tasks, by reason.
    """

    queue: ReviewQueue
    tasks: tuple[ReviewTask, ...]
    left_out: dict[str, int]

    def __iter__(self) -> Iterator[ReviewTask]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def read_tasks(output: RunOutput, queue_id: str | None = None, *, min_score: float | None = None) -> Tasks:
    """The images of a queue as tasks, with the persons that the network found in them.

    Bytes that several images share are one task: what is said of them is said of all.

    Memory is that of the queue, and of one file of the tables.

    Args:
        output: of the run.
        queue_id: of the queue; None for the one that was written last.
        min_score: persons below are no pre-labels; None for the run's own.

    Raises:
        ConfigurationError: there is no such queue, or no run.
        ShardError: a file of the tables is damaged.
    """
    queue, rows = read_queue(output, queue_id), replace(output, source="model").rows()
    found = queued_rows(rows, queue.images)
    ignores_exif = rows.settings.get("exif") == "ignore"
    least = rows.min_score if min_score is None else min_score
    tasks, left_out, asked = list[ReviewTask](), Counter[str](), set[str | None]()
    reviewed = output.human_rows().counting.keys()
    for image in queue.images:
        reason = _left_out(image, found.get(image.uri), ignores_exif)
        if reason is None and image.is_reviewed and image.sha256 in reviewed:
            reason = "reviewed before it was drawn"
        elif reason is None and image.sha256 in asked:
            reason = "the same bytes as another image of the queue"
        if reason is None:
            tasks.append(_task(image, found[image.uri], least))
            asked.add(image.sha256)
        else:
            left_out[reason] += 1
    return Tasks(queue, tuple(tasks), dict(left_out))


def _left_out(asked: QueuedImage, now: ImageResult | None, ignores_exif: bool) -> str | None:
    """Why an image of a queue is no task; None where it is one."""
    if now is None:
        return "not in the tables any more"
    if now.sha256 is None or now.width is None or now.height is None:
        return f"nothing to label ({now.status.value})"
    if now.sha256 != asked.sha256:
        return "replaced by another image since"
    if ignores_exif and now.exif_orientation > 1:
        return "the run ignored their EXIF orientation, which labelling tools apply"
    return None


def _task(asked: QueuedImage, now: ImageResult, min_score: float) -> ReviewTask:
    persons = (
        ()
        if now.poses is None
        else tuple(
            PreLabel(person, pose.keypoints, pose.keypoint_scores, float(pose.score))
            for person, pose in enumerate(now.poses)
            if pose.score >= min_score
        )
    )
    assert now.sha256 is not None
    assert now.width is not None
    assert now.height is not None
    return ReviewTask(
        image_key=now.image_key,
        sha256=now.sha256,
        uri=now.uri,
        width=now.width,
        height=now.height,
        reason=asked.words,
        persons=persons,
    )
