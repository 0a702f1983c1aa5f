"""Queues of images that people should look at, as they lie below an output: written once, read by many.

Their names begin with their number, so which is the last is the same wherever an output is copied to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.output.parquet import decode_table, encode_table
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.output.stored_poses import POSE_COLUMNS, RESULT_COLUMNS, image_results, stored_persons
from pipeline.storage.object_file import PARQUET_ERRORS
from posrefine.errors import ConfigurationError

__all__ = [
    "REASONS",
    "QueueRecord",
    "QueuedImage",
    "Reason",
    "ReviewQueue",
    "list_queues",
    "queued_rows",
    "read_queue",
    "write_queue",
]


class Reason(StrEnum):
    """Why an image was chosen."""

    REPLACED = "replaced"
    VIEW_SPREAD = "view_spread"
    NEAR_FLOOR = "near_floor"
    PEOPLE_DIFFER = "people_differ"
    UNUSUAL_POSE = "unusual_pose"
    UNUSUAL_SIZE = "unusual_size"
    DRIFT = "drift"
    FAILED = "failed"
    CONTROL = "control"


REASONS = {
    Reason.REPLACED: "reviewed, and replaced by another image since",
    Reason.VIEW_SPREAD: "test-time views disagree",
    Reason.NEAR_FLOOR: "scores near the least score",
    Reason.PEOPLE_DIFFER: "two runs disagree on the people",
    Reason.UNUSUAL_POSE: "unusual poses for this data set",
    Reason.UNUSUAL_SIZE: "unusual sizes for this data set",
    Reason.DRIFT: "what the last generation has more of than those before",
    Reason.FAILED: "failed, and may hold people",
    Reason.CONTROL: "drawn at random",
}
"""What each of them means, for people."""


@dataclass(frozen=True)
class QueuedImage:
    """One image of a queue.

    Attributes:
        rank: place in the queue, from 0 on.
        image_key: of the run's tables.
        image_id: as the run has it.
        uri: where it lies.
        width, height: image px, of the frame of the keypoints; None for failed images of unknown size.
        sha256: of its bytes, hexadecimal; None where they were never read.
        reason: the first signal that chose it; `CONTROL` where none did.
        value: of that signal, the larger the more; None for `CONTROL`.
        words: the reason for people.
        is_control: whether it was drawn at random, whatever signals say of it.
        probability: with which the draw takes an image; None for those that were not drawn.
        is_reviewed: whether people had looked at it before: it is part of the control share, and no task.
    """

    rank: int
    image_key: str
    image_id: int | None
    uri: str
    width: int | None
    height: int | None
    sha256: str | None
    reason: Reason
    value: float | None
    words: str
    is_control: bool
    probability: float | None
    is_reviewed: bool


class QueueRecord(BaseModel):
    """How a queue was chosen.

    Attributes:
        queue_id: of it; decided by all that decides which images are in it.
        run_id: of the run's files.
        generation: whose rows they were; None for a run that is not finished.
        budget: images that were asked for.
        control_share: of the budget, that was to be drawn at random.
        per_folder: most images that signals may choose below one folder; None for any number.
        seed: of the draw.
        against: the other run that its persons were compared with.
        images: in the tables.
        images_ok: of them those with keypoints, or without people: what the control share is drawn from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_id: str
    run_id: str
    generation: int | None
    budget: int
    control_share: float
    per_folder: int | None
    seed: int
    against: str | None
    images: int
    images_ok: int


@dataclass(frozen=True)
class ReviewQueue:
    """A queue, best first."""

    record: QueueRecord
    images: tuple[QueuedImage, ...]

    def reasons(self) -> Counter[Reason]:
        """How many images each reason chose."""
        return Counter(image.reason for image in self.images)

    def lines(self) -> Iterator[str]:
        """The queue for people."""
        record, control = self.record, sum(image.is_control for image in self.images)
        rows = "unfinished run" if record.generation is None else f"generation {record.generation}"
        yield f"{record.queue_id}: {len(self.images):,} of {record.images:,} images ({rows})"
        for reason, count in sorted(self.reasons().items(), key=lambda item: list(Reason).index(item[0])):
            yield f"  {count:>7,}  {REASONS[reason]}"
        yield f"  {control:>7,}  of them are the control share, drawn from {record.images_ok:,}"
        reviewed = sum(image.is_reviewed for image in self.images)
        if reviewed:
            yield f"  {reviewed:>7,}  of these were reviewed before"
        left = record.budget - (len(self.images) - reviewed)
        if left > 0:
            full = "" if record.per_folder is None else " or its folder has its share"
            yield (
                f"  {left:>7,}  of the budget of {record.budget:,} stay unspent: no other image that nobody "
                f"has looked at stands out{full}; --control-share draws more at random"
            )


_SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("image_key", pa.string(), nullable=False),
        pa.field("image_id", pa.int64()),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("words", pa.string(), nullable=False),
        pa.field("is_control", pa.bool_(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("is_reviewed", pa.bool_(), nullable=False),
    ]
)
_RECORD = b"posrefine.review_queue"
_NAME = re.compile(r"/(?:(?P<number>\d{8})-)?(?P<id>[^/-]+)\.parquet$")


def write_queue(output: RunOutput, queue: ReviewQueue) -> str:
    """Put the queue below the output as the last one, unless it is that already, and return its address.

    A queue that was made before, and that others have followed since, is the last one again.

    Raises:
        ObjectExists: another queue lies there under its id.
    """
    columns = [
        pa.array([getattr(image, field.name) for image in queue.images], field.type) for field in _SCHEMA
    ]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    data = encode_table(table, {_RECORD: queue.record.model_dump_json().encode()})
    queue_id, known = queue.record.queue_id, _addresses(output)
    if queue_id in known:
        output.storage.create(known[queue_id], data)
    if queue_id in list(known)[-1:]:
        return known[queue_id]
    number = 1 + max((_number(uri) for uri in known.values()), default=-1)
    uri = output.tree.queue(number, queue_id)
    output.storage.create(uri, data)
    return uri


def list_queues(output: RunOutput) -> list[str]:
    """The ids of the queues below an output, the one that was made last at the end."""
    return list(_addresses(output))


def read_queue(output: RunOutput, queue_id: str | None = None) -> ReviewQueue:
    """A queue below an output; without an id the one that was made last.

    Raises:
        ConfigurationError: there is none, or what is there is no queue of this version.
    """
    known = _addresses(output)
    if queue_id is None and not known:
        raise ConfigurationError(f"{output.tree.queues}: there is no queue; `review.py select` makes one")
    uri = list(known.values())[-1] if queue_id is None else known.get(queue_id)
    if uri is None:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise ConfigurationError(f"{output.uri}: no queue {queue_id}; {there}")
    try:
        table = decode_table(output.storage.read_bytes(uri))
        record = QueueRecord.model_validate_json((table.schema.metadata or {}).get(_RECORD, b""))
        return ReviewQueue(record, _images(table))
    except (*PARQUET_ERRORS, ValidationError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{uri}: no queue of this version ({error}); select a new one") from error


def _addresses(output: RunOutput) -> dict[str, str]:
    """Where the queues lie, by id, in the order in which they were made."""
    uris = [info.uri for info in output.storage.list(output.tree.queues) if _NAME.search(info.uri)]
    found: dict[str, str] = {}
    for uri in sorted(uris, key=lambda uri: (_number(uri), uri)):
        queue_id = _matched(uri)["id"]
        found.pop(queue_id, None)
        found[queue_id] = uri
    return found


def _number(uri: str) -> int:
    """Of a queue; one without was made before they had any."""
    return int(_matched(uri)["number"] or -1)


def _matched(uri: str) -> re.Match[str]:
    match = _NAME.search(uri)
    assert match is not None
    return match


def queued_rows(rows: RunRows, images: Iterable[QueuedImage]) -> dict[str, ImageResult]:
    """What the tables say now of images of a queue, by address; those that are gone are left out.

    Of the tables the files that hold some of them are read; memory is that of one file and of the images.
    """
    wanted = pa.array([image.uri for image in images], pa.string())
    found: dict[str, ImageResult] = {}
    for part, table in zip(rows.parts(1), rows.columns(["uri"]), strict=True):
        here = np.flatnonzero(pc.is_in(table["uri"], value_set=wanted))
        if len(here):
            (whole,) = part.persons(RESULT_COLUMNS, POSE_COLUMNS)
            some = whole.take(here)
            persons = stored_persons(some.persons, rows.skeleton.num_joints)
            found |= {image.uri: image for image in image_results(some.images, persons, some.per_image)}
    return found


def _images(table: pa.Table) -> tuple[QueuedImage, ...]:
    rows: Sequence[dict[str, object]] = table.select(_SCHEMA.names).to_pylist()
    return tuple(QueuedImage(**{**row, "reason": Reason(str(row["reason"]))}) for row in rows)  # type: ignore[arg-type]
