"""Choose the images of a run that people should look at, from its tables alone."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.output.review_queue import QueuedImage, QueueRecord, Reason, ReviewQueue, write_queue
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.review.choice import Chosen, choose, draw_control
from pipeline.review.drifted import Drifted
from pipeline.review.image_features import CountedPersons, FeatureFile, content_of
from pipeline.review.outliers import TypicalPoses, TypicalSizes
from pipeline.review.passes import Look, TablePasses
from pipeline.review.run_disagreement import RunDisagreement
from pipeline.review.signals import Signal, signals_of
from posrefine.errors import ConfigurationError

__all__ = ["SelectOptions", "select_images"]

_ROW_COLUMNS = ["image_key", "image_id", "uri", "width", "height", "sha256"]
_RANDOM = "drawn at random, to judge the whole by"


@dataclass(frozen=True)
class SelectOptions:
    """What to choose.

    Attributes:
        budget: images that people can look at.
        control_share: of the budget that is drawn at random, 0 to 1.
        per_folder: most images that are chosen of a folder, or of one in a shard; None for any number.
        seed: of the draw, and of the order of equals.
        against: another run over the same images, to compare persons with.
        distributed: whether to read the tables in Ray tasks; None: where they have more than 500,000 images.
    """

    budget: int
    control_share: float = 0.1
    per_folder: int | None = None
    seed: int = 0
    against: RunOutput | None = None
    distributed: bool | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("budget", self.budget, 1), ("per_folder", self.per_folder, 1)):
            if value is not None and value < least:
                raise ConfigurationError(f"{name}: {value}, expected {least} or more")
        if not 0 <= self.control_share <= 1:
            raise ConfigurationError(f"control_share: {self.control_share}, expected 0 to 1")


def select_images(output: RunOutput, options: SelectOptions) -> tuple[ReviewQueue, str]:
    """Choose images and write the queue of them below the output.

    The tables are read twice, file by file, in Ray tasks where there is much; the features of images lie in
    a temporary file of some hundred bytes an image, and so do the joints of another run. The same tables,
    options and reviews make the same queue, in whatever files the tables lie and wherever they are read.
    Signals see the network's rows, whatever people say of them. Images that people have looked at are not
    chosen again, as long as their bytes are the same.

    Args:
        output: of the run.
        options: what to choose.

    Returns:
        The queue, and its address.

    Raises:
        ConfigurationError: there is no run, or the other one cannot be compared with it, or has none of its
            images.
        ShardError: a file of the tables is damaged.
        StorageError: the store could not be reached.
    """
    output, people = replace(output, source="model"), output.human_rows()
    rows = output.rows()
    known = np.array(sorted({content_of(sha256) for sha256 in people.counting}), np.uint64)
    with tempfile.TemporaryDirectory(prefix="posrefine-review-") as folder:
        other = None
        if options.against is not None:
            with Path(folder, "other").open("w+b") as file:
                other = RunDisagreement.read(options.against, rows.skeleton, file)
        passes = TablePasses(rows, options.distributed)
        with Path(folder, "images").open("w+b") as file, passes.together():
            images = FeatureFile(file)
            features, sample = passes.features(images, Look(options.seed, people.reviewed_keys(), other))
            control, ok = draw_control(features, options.budget, options.control_share)
            if options.against is not None and ok and (features["differ"] < 0).all():
                raise ConfigurationError(
                    f"{options.against.uri}: has annotated none of the run's images, told by key and bytes; "
                    "annotate the same --input for it, or a part with --include, or choose without --against"
                )
            signals = _signals(passes, features, sample, Drifted.of(output))
            is_old = np.isin(features["content"][control], known)
            # Answers that are there already cost nobody anything.
            wanted = options.budget - int((~is_old).sum())
            chosen = choose(features, signals, control, wanted, options.per_folder, known)
            queued = _queued(rows, features, chosen, signals, len(control) / max(ok, 1), known)
            queue = _named(output, rows, options, tuple(queued), len(features), ok)
    return queue, write_queue(output, queue)


def _signals(
    passes: TablePasses, features: NDArray[Any], sample: CountedPersons, drifted: Drifted | None
) -> tuple[Signal, ...]:
    """Those that can be told, after measuring what takes the sample."""
    poses = TypicalPoses.of(sample)
    if poses is not None:
        passes.measure_poses(features, poses)
    return signals_of(passes.rows.min_score, poses, TypicalSizes.of(sample.shares), drifted)


def _queued(
    rows: RunRows,
    features: NDArray[Any],
    chosen: Sequence[Chosen],
    signals: Sequence[Signal],
    probability: float,
    known: NDArray[np.uint64],
) -> Iterator[QueuedImage]:
    words: dict[Reason, Callable[[Any], str]] = {signal.reason: signal.words for signal in signals}
    stored = _stored(rows, features[[one.index for one in chosen]])
    for rank, (one, row) in enumerate(zip(chosen, stored, strict=True)):
        found = features[one.index]
        yield QueuedImage(
            rank=rank,
            **row,
            reason=one.reason,
            value=one.value,
            words=_RANDOM if one.reason is Reason.CONTROL else words[one.reason](found),
            is_control=one.is_control,
            probability=probability if one.is_control else None,
            is_reviewed=one.is_control and bool(found["content"] in known),
        )


def _stored(rows: RunRows, wanted: NDArray[Any]) -> list[dict[str, Any]]:
    """What the tables say of these images, in their order; only files that hold some are read."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    needed = set(wanted["file"].tolist())
    for number, part in enumerate(rows.parts(1)):
        if number in needed:
            (table,) = part.columns(_ROW_COLUMNS)
            places = wanted["row"][wanted["file"] == number].tolist()
            found |= {(number, place): table.slice(place, 1).to_pylist()[0] for place in places}
    return [found[int(row["file"]), int(row["row"])] for row in wanted]


def _named(
    output: RunOutput,
    rows: RunRows,
    options: SelectOptions,
    images: tuple[QueuedImage, ...],
    total: int,
    ok: int,
) -> ReviewQueue:
    """The queue, called by all that made it, and by what is in it."""
    counts = output.counts()
    record = QueueRecord(
        queue_id="",
        run_id=rows.run_id,
        generation=output.as_of or (None if counts is None else counts.generation),
        budget=options.budget,
        control_share=options.control_share,
        per_folder=options.per_folder,
        seed=options.seed,
        against=None if options.against is None else options.against.uri,
        images=total,
        images_ok=ok,
    )
    digest = hashlib.sha256(record.model_dump_json().encode())
    for image in images:
        digest.update(f"\n{image.uri} {image.sha256} {image.reason} {image.is_reviewed}".encode())
    return ReviewQueue(record.model_copy(update={"queue_id": digest.hexdigest()[:12]}), images)
