"""Where predictions come from: a run's unit files or tables, or a COCO results file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit import decode_table
from pipeline.ground_truth import Annotations
from pipeline.json_stream import iter_records
from pipeline.layout import OutputTree
from pipeline.ordered_map import map_in_order
from pipeline.predicted_images import IMAGE_COLUMNS, PERSON_COLUMNS, PredictedImages, predicted_images
from pipeline.record import UNTRAINED_NOTE
from pipeline.schema import described
from pipeline.storage import Storage
from pipeline.uris import normalise_uri
from posrefine.errors import ConfigurationError, ShardError
from posrefine.metrics import Detections, DetectionsBuilder, Finding, GroundTruth, Protocol
from posrefine.metrics.detections import drop_unknown_images

__all__ = ["PartOfResults", "PartOfRun", "PartOfTables", "PredictionPart", "Predictions", "open_predictions"]

_UNITS_PER_PART = 16
_FETCHES_AT_ONCE = 8
"""Unit files are small: a store's answer takes longer than their bytes."""
_IMAGES_PER_PART = 2_048


@dataclass(frozen=True)
class PartOfRun:
    """Some unit files."""

    uris: tuple[str, ...]

    def read(self, storage: Storage, annotations: Annotations, protocol: Protocol) -> list[PredictedImages]:
        """Their rows, file by file."""
        return [
            _from_units(decode_table(data, [*IMAGE_COLUMNS, "persons"]), annotations, protocol)
            for data in map_in_order(storage.read_bytes, self.uris, _FETCHES_AT_ONCE)
        ]


@dataclass(frozen=True)
class PartOfTables:
    """One file of `tables/images` and the one of `tables/persons` that belongs to it."""

    images: str
    persons: str

    def read(self, storage: Storage, annotations: Annotations, protocol: Protocol) -> list[PredictedImages]:
        """Their rows."""
        images = decode_table(storage.read_bytes(self.images), [*IMAGE_COLUMNS, "person_count"])
        persons = decode_table(storage.read_bytes(self.persons), PERSON_COLUMNS).combine_chunks()
        counts = np.asarray(images["person_count"], np.int64)
        if counts.sum() != persons.num_rows:
            raise ShardError(
                f"{self.persons}: {persons.num_rows} persons, but {self.images} counts {counts.sum()}; "
                "finalize the run again"
            )
        rows = persons.to_struct_array().combine_chunks()
        return [predicted_images(images, rows, counts, annotations.truth, annotations.index, protocol)]


@dataclass(frozen=True)
class PartOfResults:
    """Detections of some of the annotated images, out of a results file."""

    image_ids: NDArray[np.int64]
    detections: Detections

    def read(self, storage: Storage, annotations: Annotations, protocol: Protocol) -> list[PredictedImages]:
        """They are here already."""
        nothing_failed = np.zeros(len(self.image_ids), bool)
        return [PredictedImages(self.image_ids, nothing_failed, self.detections, ())]


PredictionPart = PartOfRun | PartOfTables | PartOfResults


@dataclass(frozen=True)
class Predictions:
    """Predictions in parts.

    Attributes:
        uri: what the user named.
        parts: can be read apart from each other; read in this order, the first occurrence of an image counts.
        model: of the run; None for results files.
        weights: likewise.
        findings: what was noticed so far.
    """

    uri: str
    parts: tuple[PredictionPart, ...]
    model: str | None
    weights: str | None
    findings: tuple[Finding, ...]

    @property
    def is_run(self) -> bool:
        """Whether rows say of every image what became of it."""
        return not any(isinstance(part, PartOfResults) for part in self.parts)


def open_predictions(storage: Storage, uri: str, annotations: Annotations, protocol: Protocol) -> Predictions:
    """Find the parts of a run's output (`units/`, else `tables/`) or read a COCO results file.

    Raises:
        ConfigurationError: there is neither, or the results file is none.
        StorageError: it cannot be read.
    """
    if normalise_uri(uri).endswith(".json"):
        return _open_results(storage, uri, annotations, protocol)
    tree = OutputTree.at(uri)
    units = [info.uri for info in storage.list(tree.units) if info.uri.endswith(".parquet")]
    parts: tuple[PredictionPart, ...] = tuple(
        PartOfRun(tuple(units[start : start + _UNITS_PER_PART]))
        for start in range(0, len(units), _UNITS_PER_PART)
    )
    parts = parts or tuple(_table_parts(storage, tree))
    if not parts:
        raise ConfigurationError(
            f"predictions {uri}: no units/*.parquet or tables/images/*.parquet below it, and no .json file; "
            "name the output of a run or a COCO results file"
        )
    said = _said(storage, parts[0])
    note = said.get("note")
    code = "poses_mean_nothing" if note == UNTRAINED_NOTE else "weights_have_a_note"
    findings = Finding.of(code, [] if note is None else [note])
    return Predictions(uri, parts, said.get("model"), said.get("weights"), tuple(findings))


def _table_parts(storage: Storage, tree: OutputTree) -> Iterator[PartOfTables]:
    folder = tree.table("images", 0).rpartition("/")[0]
    for info in storage.list(folder):
        if info.uri.endswith(".parquet"):
            yield PartOfTables(info.uri, info.uri.replace("/tables/images/", "/tables/persons/"))


def _said(storage: Storage, part: PredictionPart) -> dict[str, str]:
    """What the metadata of the first file says of the network, by name."""
    uri = (
        part.uris[0] if isinstance(part, PartOfRun) else part.images if isinstance(part, PartOfTables) else ""
    )
    return described(decode_table(storage.read_bytes(uri), ["image_key"]).schema.metadata)


def _from_units(rows: pa.Table, annotations: Annotations, protocol: Protocol) -> PredictedImages:
    lists = rows["persons"].combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    counts = np.asarray(pc.list_value_length(lists), np.int64)
    return predicted_images(rows, lists.flatten(), counts, annotations.truth, annotations.index, protocol)


def _open_results(storage: Storage, uri: str, annotations: Annotations, protocol: Protocol) -> Predictions:
    builder = DetectionsBuilder(protocol.skeleton.num_joints, annotations.category_id)
    for key, record in iter_records(storage, uri):
        if key != "" or not isinstance(record, dict):
            raise ConfigurationError(
                f"predictions {uri}: expected a COCO results file, one array of entries, "
                f"found {json.dumps(key or record)[:100]}"
            )
        builder.add(record)
    detections, findings = builder.build()
    detections, unknown = drop_unknown_images(detections, annotations.truth.image_ids)
    parts = tuple(_result_parts(detections, annotations.truth))
    return Predictions(uri, parts, None, None, tuple(findings + unknown))


def _result_parts(detections: Detections, truth: GroundTruth) -> Iterator[PartOfResults]:
    """All annotated images in ranges of ids, each with its detections in the order of the file."""
    if np.any(np.diff(detections.image_ids) < 0):
        detections = detections.select(np.argsort(detections.image_ids, kind="stable"))
    ids = detections.image_ids
    for start in range(0, len(truth.image_ids), _IMAGES_PER_PART):
        chosen = truth.image_ids[start : start + _IMAGES_PER_PART]
        own = slice(*np.searchsorted(ids, [chosen[0], chosen[-1] + 1]))
        part = Detections(ids[own], detections.keypoints[own], detections.scores[own])
        yield PartOfResults(chosen, part)
