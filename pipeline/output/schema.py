"""The explicit Arrow schemas of everything a run writes; an explicit schema is the contract with its readers.

Lists are plain, never of fixed size: several engines cannot read those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from posrefine.errors import ImageStatus
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = [
    "CORRECTED_SCHEMA",
    "IMAGES_SCHEMA",
    "LABELLED",
    "MODEL",
    "PERSONS_SCHEMA",
    "SCHEMA_VERSION",
    "UNIT_SCHEMA",
    "HumanLabels",
    "ImageResult",
    "TableMetadata",
    "as_found",
    "images_table",
    "lists_of",
    "persons_as_found",
    "persons_column",
    "persons_table",
    "unit_table",
]

SCHEMA_VERSION = 4

MODEL = "model"
"""The `source` of what the network found; that of what people corrected is their name."""

LABELLED = 1.0
"""The keypoint score of joints that people labelled; those that they did not have 0."""

_FLOATS = pa.list_(pa.float32())
_PERSON_FIELDS = [
    pa.field("score", pa.float32(), nullable=False),
    pa.field("bbox", _FLOATS, nullable=False),
    pa.field("keypoints", _FLOATS, nullable=False),
    pa.field("keypoint_scores", _FLOATS, nullable=False),
    pa.field("spread_px", _FLOATS),
]
_IMAGE_KEY_FIELDS = [
    pa.field("image_key", pa.string(), nullable=False),
    pa.field("image_id", pa.int64()),
    pa.field("unit", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
]
_IMAGE_FIELDS = [
    *_IMAGE_KEY_FIELDS,
    pa.field("exif_orientation", pa.int8(), nullable=False),
    pa.field("decode_factor", pa.int8(), nullable=False),
    pa.field("sha256", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string()),
]

UNIT_SCHEMA = pa.schema(
    [*_IMAGE_FIELDS, pa.field("persons", pa.list_(pa.struct(_PERSON_FIELDS)), nullable=False)]
)
"""One row per input image: of `units/<unit>.parquet`, and of what inference hands to the commit."""

_SOURCE = pa.field("source", pa.string(), nullable=False)
_TABLE_PERSON_FIELDS = [*_PERSON_FIELDS, pa.field("visibility", pa.list_(pa.int8()))]

CORRECTED_SCHEMA = pa.schema(
    [
        *_IMAGE_FIELDS,
        pa.field("persons", pa.list_(pa.struct(_TABLE_PERSON_FIELDS)), nullable=False),
        _SOURCE,
    ]
)
"""Rows of units on their way into the tables: as `UNIT_SCHEMA`, and whose they are.

Where `source` is not `MODEL`, somebody corrected the image: `score` is 1, `keypoint_scores` are 1 where a
joint is labelled and 0 where it is not, `visibility` is COCO's (0 not labelled and at 0, 0; 1 hidden;
2 visible), and there is no spread. The network's persons have no `visibility`.
"""

IMAGES_SCHEMA = pa.schema([*_IMAGE_FIELDS, pa.field("person_count", pa.int32(), nullable=False), _SOURCE])
"""One row per input image, without its persons: `tables/images`."""

PERSONS_SCHEMA = pa.schema(
    [*_IMAGE_KEY_FIELDS, pa.field("person", pa.int32(), nullable=False), *_TABLE_PERSON_FIELDS, _SOURCE]
)
"""One row per person, `person` being the index in its image, best first: `tables/persons`."""


@dataclass(frozen=True, eq=False)
class HumanLabels:
    """What a corrected image's persons have besides their poses.

    Attributes:
        visibility: [N, K] int8, COCO's: 0 not labelled, 1 labelled and hidden, 2 labelled and visible.
        boxes_xywh: [N, 4] float32, left, top, width, height, image px: as they were drawn, or around the
            labelled joints.
    """

    visibility: NDArray[np.int8]
    boxes_xywh: NDArray[np.float32]

    def select(self, persons: NDArray[np.bool_] | slice) -> HumanLabels:
        """The labels of some of the persons."""
        return HumanLabels(self.visibility[persons], self.boxes_xywh[persons])


@dataclass(frozen=True)
class ImageResult:
    """What became of one image: its poses, or why there are none.

    `width` and `height` are of the frame the keypoints are in, image px; `decode_factor` is 2, 4 or 8 where
    the network saw a large image decoded smaller. `poses` is None for failed images. `source` says who found
    the persons, the network or somebody; `labels` are theirs, and None where it was the network.
    """

    image_key: str
    image_id: int | None
    uri: str
    width: int | None
    height: int | None
    exif_orientation: int
    sha256: str | None
    status: ImageStatus
    error: str | None = None
    poses: Poses | None = None
    decode_factor: int = 1
    source: str = MODEL
    labels: HumanLabels | None = None


@dataclass(frozen=True)
class TableMetadata:
    """What a reader of a file must know to use its numbers; stored as the Parquet file's key-value metadata.

    `settings` is JSON; `run_id` is the same in all files of a run and in those of no other; `note` is what
    must be known about the network's poses, if anything.
    """

    skeleton: Skeleton
    model: str
    weights: str
    weights_sha256: str
    settings: str
    code_version: str
    run_id: str
    note: str | None = None

    def encode(self) -> dict[bytes, bytes]:
        """As Parquet's key-value metadata."""
        values = {
            "schema_version": str(SCHEMA_VERSION),
            "skeleton": self.skeleton.name,
            "joints": json.dumps(self.skeleton.joints),
            "limbs": json.dumps(self.skeleton.limbs),
            "coordinate_frame": (
                "image px after the EXIF rule of the settings, origin at the top-left, x rightward, y down, "
                "as in COCO annotations; keypoints are x1, y1, x2, y2, ...; bbox is left, top, width, height"
            ),
            "source": (
                "who found the persons: model, or the name of who corrected the image; of these, score is 1, "
                "keypoint_scores are 1 where labelled and 0 where not, and visibility is COCO's 0, 1, 2"
            ),
            "model": self.model,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "settings": self.settings,
            "code_version": self.code_version,
            "run_id": self.run_id,
        }
        if self.note is not None:
            values["note"] = self.note
        return {f"posrefine.{key}".encode(): value.encode() for key, value in values.items()}


def metadata_values(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """What a Parquet file's key-value metadata say of its run, by the names of `TableMetadata`."""
    return {
        key.decode(errors="replace").removeprefix("posrefine."): value.decode(errors="replace")
        for key, value in (metadata or {}).items()
        if key.startswith(b"posrefine.")
    }


def unit_table(unit_id: str, results: Sequence[ImageResult]) -> pa.Table:
    """The rows of one unit in the order of `results`, with `UNIT_SCHEMA`."""
    columns = {
        "image_key": [r.image_key for r in results],
        "image_id": [r.image_id for r in results],
        "unit": [unit_id] * len(results),
        "uri": [r.uri for r in results],
        "width": [r.width for r in results],
        "height": [r.height for r in results],
        "exif_orientation": [r.exif_orientation for r in results],
        "decode_factor": [r.decode_factor for r in results],
        "sha256": [r.sha256 for r in results],
        "status": [r.status.value for r in results],
        "error": [r.error for r in results],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in _IMAGE_FIELDS]
    return pa.Table.from_arrays([*arrays, persons_column([r.poses for r in results])], schema=UNIT_SCHEMA)


def persons_column(poses: Sequence[Poses | None]) -> pa.ListArray:
    """One list of persons per image, empty for failed images."""
    offsets = np.cumsum([0, *(len(p) if p is not None else 0 for p in poses)], dtype=np.int32)
    found = [p for p in poses if p is not None and len(p)]
    if not found:
        empty = pa.array([], pa.struct(_PERSON_FIELDS))
        return pa.ListArray.from_arrays(pa.array(offsets), empty, type=UNIT_SCHEMA.field("persons").type)
    spread = np.concatenate([p.spread_px for p in found])
    members = [
        pa.array(np.concatenate([p.scores for p in found]).astype(np.float32)),
        lists_of(np.concatenate([p.boxes_xywh for p in found])),
        lists_of(np.concatenate([p.keypoints.reshape(len(p), -1) for p in found])),
        lists_of(np.concatenate([p.keypoint_scores for p in found])),
        lists_of(spread, nothing=np.isnan(spread).all(axis=1)),
    ]
    persons = pa.StructArray.from_arrays(members, fields=_PERSON_FIELDS)
    return pa.ListArray.from_arrays(pa.array(offsets), persons, type=UNIT_SCHEMA.field("persons").type)


def lists_of(rows: np.ndarray, nothing: np.ndarray | None = None) -> pa.ListArray:
    """One list per row of the [N, M] array, of float32 or int8; null where `nothing`, [N] bool, says so."""
    count, width = rows.shape
    kind = np.int8 if rows.dtype == np.int8 else np.float32
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    values = pa.array(np.ascontiguousarray(rows, kind).reshape(-1))
    mask = None if nothing is None else pa.array(nothing)
    return pa.ListArray.from_arrays(offsets, values, type=pa.list_(values.type), mask=mask)


def as_found(units: pa.Table) -> pa.Table:
    """Rows with `UNIT_SCHEMA` as rows with `CORRECTED_SCHEMA` that nobody corrected."""
    columns = [units[field.name] for field in _IMAGE_FIELDS]
    persons = persons_as_found(units["persons"].combine_chunks())
    source = pa.array([MODEL] * units.num_rows, pa.string())
    return pa.Table.from_arrays([*columns, persons, source], schema=CORRECTED_SCHEMA)


def persons_as_found(persons: pa.ListArray) -> pa.ListArray:
    """The network's persons, image by image, with the fields of `CORRECTED_SCHEMA`."""
    members = persons.flatten()
    fields = [pc.struct_field(members, field.name) for field in _PERSON_FIELDS]
    visibility = pa.nulls(len(members), _TABLE_PERSON_FIELDS[-1].type)
    lengths = np.asarray(pc.list_value_length(persons), np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    structs = pa.StructArray.from_arrays([*fields, visibility], fields=_TABLE_PERSON_FIELDS)
    return pa.ListArray.from_arrays(offsets, structs, type=CORRECTED_SCHEMA.field("persons").type)


def images_table(rows: pa.Table) -> pa.Table:
    """The rows of `tables/images` for rows with `CORRECTED_SCHEMA`."""
    counts = pc.list_value_length(rows["persons"]).cast(pa.int32())
    columns = [rows[field.name] for field in _IMAGE_FIELDS]
    return pa.Table.from_arrays([*columns, counts, rows["source"]], schema=IMAGES_SCHEMA)


def persons_table(rows: pa.Table) -> pa.Table:
    """The rows of `tables/persons` for rows with `CORRECTED_SCHEMA`, images without people leaving none."""
    rows = rows.combine_chunks()
    persons = rows["persons"].combine_chunks()
    parents = pc.list_parent_indices(persons)
    keys = [rows[field.name].take(parents) for field in _IMAGE_KEY_FIELDS]
    members = persons.flatten()
    lengths = pc.list_value_length(persons).to_numpy(zero_copy_only=False)
    indices = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths] or [np.zeros(0, np.int32)])
    columns = [
        *keys,
        pa.array(indices, pa.int32()),
        *(pc.struct_field(members, f.name) for f in _TABLE_PERSON_FIELDS),
        rows["source"].take(parents),
    ]
    return pa.Table.from_arrays(columns, schema=PERSONS_SCHEMA)
