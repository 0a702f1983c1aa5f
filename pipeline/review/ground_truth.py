"""The corrected images of an output as annotations in COCO's form: to score by, to pack and to train on."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.export.coco import ground_truth_pieces, image_record, people
from pipeline.export.files import spooled
from pipeline.export.source import ExportedImage, ExportOptions, ExportSource
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import MODEL
from pipeline.storage.uris import normalise_uri
from posrefine.errors import ConfigurationError

__all__ = ["GroundTruthFile", "write_ground_truth"]


@dataclass
class GroundTruthFile:
    """What was written.

    Attributes:
        uri: of the file.
        images: in it, those without persons too.
        persons: in them.
    """

    uri: str
    images: int = 0
    persons: int = 0

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.images:,} images, {self.persons:,} persons"
        yield self.uri


def write_ground_truth(output: RunOutput, uri: str) -> GroundTruthFile:
    """Write the images of the tables that people corrected, and what they said, as one JSON file.

    `file_name` is the image's key and coordinates are in the run's frame, so `evaluate.py --annotations`,
    `pack.py --annotations` and `train.py` take it as it is. Ids are the run's if all images have one of their
    own, else 1, 2, 3 and so on. `area` is 0.53 of the box's; the `sha256` of each image stands beside it.
    Memory is bounded by a file of the tables.

    Raises:
        ConfigurationError: nobody corrected anything, or the tables are not finished.
        ShardError: a file of the tables is damaged.
        StorageError: the store could not be reached.
    """
    everybody = ExportOptions(min_score=-math.inf)
    source = ExportSource(output.rows(), output.storage, everybody, applies_exif=False)
    written = GroundTruthFile(normalise_uri(uri))
    corrected = (image for image in source.images() if image.labels is not None)
    records = _records(corrected, written, own_ids=_have_own_ids(output))
    about = f"images of {output.uri} as people corrected them"
    with (
        spooled(output.storage, written.uri) as file,
        tempfile.TemporaryFile("w+", encoding="utf-8") as spool,
    ):
        for piece in ground_truth_pieces(about, source.rows.skeleton, records, spool):
            file.write(piece)
        if not written.images:
            raise ConfigurationError(
                f"{output.uri}: nobody corrected any of its images; `review.py import` takes corrections in"
            )
    return written


def _records(
    images: Iterable[ExportedImage], written: GroundTruthFile, *, own_ids: bool
) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """Each image's record with its persons', which are counted."""
    for image in images:
        written.images += 1
        written.persons += len(image.poses)
        image_id = image.image_id if own_ids and image.image_id is not None else written.images
        record = image_record(image, image_id) | {"sha256": image.sha256}
        yield record, people(image, image_id, image.visibility(0.0))


def _have_own_ids(output: RunOutput) -> bool:
    """Whether every corrected image has an id that no other one has."""
    ids: list[int | None] = []
    for table in output.columns(["image_id", "source"]):
        rows = zip(*(table[name].to_pylist() for name in ("image_id", "source")), strict=True)
        ids += [image_id for image_id, source in rows if source != MODEL]
    return None not in ids and len(set(ids)) == len(ids)
