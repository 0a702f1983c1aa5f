"""Reads an annotation file into columns, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.image_index import ImageIndex
from pipeline.json_stream import iter_records
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import Finding, GroundTruth, GroundTruthBuilder, Protocol

__all__ = ["Annotations", "read_annotations"]


@dataclass(frozen=True)
class Annotations:
    """What an annotation file says, and what is odd about it.

    Attributes:
        truth: images and persons.
        index: its file names.
        category_id: of the person category, 1 where the file lists none.
        findings: of the checks.
    """

    truth: GroundTruth
    index: ImageIndex
    category_id: int
    findings: tuple[Finding, ...]


def read_annotations(storage: Storage, uri: str, protocol: Protocol) -> Annotations:
    """The images, persons and category of a COCO-form annotation file.

    Raises:
        ConfigurationError: no such file, no images in it, or persons that the protocol cannot score.
        StorageError: the file cannot be read.
    """
    builder, names = GroundTruthBuilder(protocol), {}
    add = {"annotations": builder.add_person, "categories": builder.add_category}
    for key, record in iter_records(storage, uri):
        if key == "images":
            builder.add_image(record)
            if isinstance(record.get("file_name"), str):
                names[record["file_name"]] = record["id"]
        elif key in add:
            add[key](record)
    truth, category_id, findings = builder.build()
    if len(truth.image_ids) == 0:
        raise ConfigurationError(f"{uri}: lists no images; expected an annotation file in COCO's form")
    return Annotations(truth, ImageIndex.of(names), category_id, tuple(findings))
