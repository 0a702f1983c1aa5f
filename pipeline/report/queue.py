"""The last queue of images for review as a page shows it: why images were chosen, with pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.output.review_queue import (
    REASONS,
    QueuedImage,
    QueueRecord,
    Reason,
    list_queues,
    queued_rows,
    read_queue,
)
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.report.gallery import Pick
from pipeline.report.pictures import Picture, PictureMaker

__all__ = ["QueueGroup", "QueueView", "last_queue"]

_LISTED = 200


@dataclass(frozen=True)
class QueueGroup:
    """The images that were chosen for one reason.

    Attributes:
        title: the reason.
        images: how many.
        control: how many of them are of the control share.
        pictures: of the first few that are still in the tables as they were.
    """

    title: str
    images: int
    control: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class QueueView:
    """A queue as the template wants it.

    Attributes:
        record: how it was chosen.
        images: how many.
        control: how many of them are the control share.
        groups: by reason.
        listed: its first images.
    """

    record: QueueRecord
    images: int
    control: int
    groups: tuple[QueueGroup, ...]
    listed: tuple[QueuedImage, ...]


def last_queue(output: RunOutput, rows: RunRows, maker: PictureMaker, size: int) -> QueueView | None:
    """The queue below an output that was written last; None where there is none.

    Args:
        output: of the run.
        rows: of the run.
        maker: of pictures.
        size: pictures for each reason.
    """
    if not list_queues(output):
        return None
    queue = read_queue(output)
    groups = {reason: [one for one in queue.images if one.reason is reason] for reason in Reason}
    shown = {reason: tuple(images[:size]) for reason, images in groups.items()}
    now = queued_rows(rows, [image for images in shown.values() for image in images])
    return QueueView(
        record=queue.record,
        images=len(queue.images),
        control=_control(queue.images),
        groups=tuple(
            QueueGroup(
                title=f"{REASONS[reason][0].upper()}{REASONS[reason][1:]}",
                images=len(images),
                control=_control(images),
                pictures=tuple(
                    maker.make(Pick(now[image.uri], image.words, rings=reason is Reason.VIEW_SPREAD))
                    for image in shown[reason]
                    if image.uri in now and now[image.uri].sha256 == image.sha256
                ),
            )
            for reason, images in groups.items()
            if images
        ),
        listed=queue.images[:_LISTED],
    )


def _control(images: Iterable[QueuedImage]) -> int:
    return sum(image.is_control for image in images)
