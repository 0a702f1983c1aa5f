"""Reads an annotation file: into columns, piece by piece, or its image names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ground_truth.annotation_records import parse_annotations
from pipeline.ground_truth.image_names import NO_IMAGE, FoundImages, ImageNames, NamedImages, NumericNames
from pipeline.ground_truth.json_stream import iter_batches
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ObjectMissing
from posrefine.metrics import Finding, GroundTruth, GroundTruthBuilder, OksRules

__all__ = ["Annotations", "read_annotations", "read_image_names"]


@dataclass(frozen=True)
class Annotations:
    """What an annotation file says, and what is odd about it.

    Attributes:
        uri: of the file.
        truth: images and persons.
        names: its file names.
        unnamed_ids: [U] int64, ascending, of images without a file name; a run's own ids say which they are.
        category_id: of the person category, 1 where the file lists none.
        findings: of the checks.
    """

    uri: str
    truth: GroundTruth
    names: ImageNames
    unnamed_ids: NDArray[np.int64]
    category_id: int
    findings: tuple[Finding, ...]

    def find(self, keys: Sequence[str], stated_ids: NDArray[np.int64]) -> FoundImages:
        """Which annotated images a run's images are: by file name, where the annotations have one.

        A run that took its ids from numeric file names may mean other images by the same numbers; so its ids
        count for images without a file name alone.

        Args:
            keys: [N] of the run's images.
            stated_ids: [N] image ids that the run gave them, `NO_IMAGE` for none.

        Raises:
            ConfigurationError: a key is the name of several annotated images.
        """
        found = self.names.find(keys)
        by_id = (found.ids == NO_IMAGE) & np.isin(stated_ids, self.unnamed_ids)
        return FoundImages(found.keys, np.where(by_id, stated_ids, found.ids), found.exact | by_id)


def read_annotations(storage: Storage, uri: str, rules: OksRules) -> Annotations:
    """The images, persons and category of a COCO-form annotation file.

    Raises:
        ConfigurationError: no such file, no images in it, or persons that the benchmark cannot score.
        StorageError: the file cannot be read.
    """
    builder = GroundTruthBuilder(rules)
    names: list[tuple[str, int]] = []
    for key, records in iter_batches(storage, uri):
        if key == "images":
            builder.add_images(records)
            named = [record for record in records if isinstance(record.get("file_name"), str)]
            names += [(record["file_name"], int(record["id"])) for record in named]
        elif key == "annotations":
            builder.add_persons([record for record in records if record is not None])
        elif key == "categories":
            builder.add_categories([record for record in records if record is not None])
    truth, category_id, findings = builder.build()
    if len(truth.image_ids) == 0:
        raise ConfigurationError(f"{uri}: lists no images; expected an annotation file in COCO's form")
    index = ImageNames.of(names)
    unnamed = np.setdiff1d(truth.image_ids, index.ids)
    return Annotations(uri, truth, index, unnamed, category_id, tuple(findings))


def read_image_names(annotations: str | None, storage: Storage) -> tuple[NamedImages, str | None]:
    """The image names of an annotation file and its sha256; numeric file names where there is none.

    Raises:
        ConfigurationError: it is no annotation file.
        StorageError: it cannot be read.
    """
    if annotations is None:
        return NumericNames(), None
    try:
        data = storage.read_bytes(annotations)
    except ObjectMissing as error:
        raise ConfigurationError(f"{annotations}: there is no such file; correct --annotations") from error
    images = parse_annotations(data, annotations, "images")["images"]
    names = ImageNames.of((image["file_name"], image["id"]) for image in images)
    return names, hashlib.sha256(data).hexdigest()
