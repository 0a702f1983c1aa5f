"""What people would say about the images of an output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from support.standing import Standing

from pipeline.output.finalize import finalize
from pipeline.output.human_import import HumanImage, add_imports, undo_imports
from pipeline.output.human_log import HumanImport
from pipeline.output.publish import clean_tables
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.output.writer import OutputWriter
from posrefine.errors import ImageStatus
from posrefine.poses import Poses

__all__ = ["corrected", "import_into", "models_rows", "undo_in"]


def corrected(image: ImageResult, persons: int, seed: int = 0) -> HumanImage:
    """An answer with so many persons, wherever they may be."""
    rng = np.random.default_rng(seed)
    visibility = rng.integers(0, 3, (persons, 17)).astype(np.int8)
    keypoints = rng.random((persons, 17, 2)).astype(np.float32) * 4
    keypoints[visibility == 0] = 0
    return HumanImage(
        sha256=image.sha256 or "",
        image_key=image.image_key,
        matched_by="sha256",
        generation=1,
        width=image.width or 0,
        height=image.height or 0,
        place=f"answers.json: image {image.image_key}",
        keypoints=keypoints,
        visibility=visibility,
        boxes_xywh=rng.random((persons, 4)).astype(np.float32),
        pre_labels=(None,) * persons,
        found=image.poses or Poses.none(17),
    )


def models_rows(output: RunOutput) -> dict[str, ImageResult]:
    """The network's rows of images with keypoints, by key."""
    rows = RunOutput(output.storage, output.tree, source="model").rows()
    return {image.image_key: image for image in rows.images() if image.status is ImageStatus.OK}


def import_into(
    standing: Standing, answers: Sequence[tuple[str, Sequence[HumanImage]]], *, publish: bool = True
) -> tuple[HumanImport, ...]:
    """Store what reviewers said, and publish it."""
    with standing.writer() as lock:
        writer = OutputWriter(standing.output, lock)
        added = add_imports(writer, answers, ["answers.json"], standing.output.require_record().run_id)
        if publish:
            _publish(writer)
        return added


def undo_in(standing: Standing, imports: Sequence[HumanImport]) -> None:
    """Take imports back."""
    with standing.writer() as lock:
        writer = OutputWriter(standing.output, lock)
        undo_imports(writer, imports)
        _publish(writer)


def _publish(writer: OutputWriter) -> None:
    record = writer.output.require_record()
    later = writer.output.finished_generations(record)[1:]
    finalize(writer, record, writer.output.manifest(record), later)
    clean_tables(writer, 0)
