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

from posrefine.errors import ImageStatus
from posrefine.inference.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = [
    "IMAGES_SCHEMA",
    "PERSONS_SCHEMA",
    "SCHEMA_VERSION",
    "UNIT_SCHEMA",
    "ImageResult",
    "TableMetadata",
    "images_table",
    "persons_table",
    "unit_table",
]

SCHEMA_VERSION = 1

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
    pa.field("sha256", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string()),
]

UNIT_SCHEMA = pa.schema(
    [*_IMAGE_FIELDS, pa.field("persons", pa.list_(pa.struct(_PERSON_FIELDS)), nullable=False)]
)
"""One row per input image: of `units/<unit>.parquet`, and of what inference hands to the commit."""

IMAGES_SCHEMA = pa.schema([*_IMAGE_FIELDS, pa.field("person_count", pa.int32(), nullable=False)])
"""One row per input image, without its persons: `tables/images`."""

PERSONS_SCHEMA = pa.schema(
    [*_IMAGE_KEY_FIELDS, pa.field("person", pa.int32(), nullable=False), *_PERSON_FIELDS]
)
"""One row per person, `person` being the index in its image, best first: `tables/persons`."""


@dataclass(frozen=True)
class ImageResult:
    """What became of one image: its poses, or why there are none.

    `width` and `height` are of the frame the keypoints are in, image px. `poses` is None for failed images.
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


@dataclass(frozen=True)
class TableMetadata:
    """What a reader of a file must know to use its numbers; stored as the Parquet file's key-value metadata.

    `settings` is JSON; `note` is what must be known about the network's poses, if anything.
    """

    skeleton: Skeleton
    model: str
    weights: str
    weights_sha256: str
    settings: str
    code_version: str
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
            "model": self.model,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "settings": self.settings,
            "code_version": self.code_version,
        }
        if self.note is not None:
            values["note"] = self.note
        return {f"posrefine.{key}".encode(): value.encode() for key, value in values.items()}


def described(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """What a Parquet file's key-value metadata say of its run, by the names of `TableMetadata`."""
    return {
        key.decode().removeprefix("posrefine."): value.decode()
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
        "sha256": [r.sha256 for r in results],
        "status": [r.status.value for r in results],
        "error": [r.error for r in results],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in _IMAGE_FIELDS]
    return pa.Table.from_arrays([*arrays, _persons_column([r.poses for r in results])], schema=UNIT_SCHEMA)


def _persons_column(poses: Sequence[Poses | None]) -> pa.ListArray:
    """One list of persons per image, empty for failed images."""
    offsets = np.cumsum([0, *(len(p) if p is not None else 0 for p in poses)], dtype=np.int32)
    found = [p for p in poses if p is not None and len(p)]
    if not found:
        empty = pa.array([], pa.struct(_PERSON_FIELDS))
        return pa.ListArray.from_arrays(pa.array(offsets), empty, type=UNIT_SCHEMA.field("persons").type)
    spread = np.concatenate([p.spread_px for p in found])
    members = [
        pa.array(np.concatenate([p.scores for p in found]).astype(np.float32)),
        _lists(np.concatenate([p.boxes_xywh for p in found])),
        _lists(np.concatenate([p.keypoints.reshape(len(p), -1) for p in found])),
        _lists(np.concatenate([p.keypoint_scores for p in found])),
        _lists(spread, nothing=np.isnan(spread).all(axis=1)),
    ]
    persons = pa.StructArray.from_arrays(members, fields=_PERSON_FIELDS)
    return pa.ListArray.from_arrays(pa.array(offsets), persons, type=UNIT_SCHEMA.field("persons").type)


def _lists(rows: np.ndarray, nothing: np.ndarray | None = None) -> pa.ListArray:
    """One list of float32 per row of the [N, M] array; null where `nothing`, [N] bool, says so."""
    count, width = rows.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    values = pa.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
    mask = None if nothing is None else pa.array(nothing)
    return pa.ListArray.from_arrays(offsets, values, type=_FLOATS, mask=mask)


def images_table(units: pa.Table) -> pa.Table:
    """The rows of `tables/images` for rows with `UNIT_SCHEMA`."""
    counts = pc.list_value_length(units["persons"]).cast(pa.int32())
    columns = [units[field.name] for field in _IMAGE_FIELDS]
    return pa.Table.from_arrays([*columns, counts], schema=IMAGES_SCHEMA)


def persons_table(units: pa.Table) -> pa.Table:
    """The rows of `tables/persons` for rows with `UNIT_SCHEMA`, images without people leaving none."""
    units = units.combine_chunks()
    persons = units["persons"].combine_chunks()
    parents = pc.list_parent_indices(persons)
    keys = [units[field.name].take(parents) for field in _IMAGE_KEY_FIELDS]
    members = persons.flatten()
    lengths = pc.list_value_length(persons).to_numpy(zero_copy_only=False)
    indices = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths] or [np.zeros(0, np.int32)])
    columns = [
        *keys,
        pa.array(indices, pa.int32()),
        *(pc.struct_field(members, f.name) for f in _PERSON_FIELDS),
    ]
    return pa.Table.from_arrays(columns, schema=PERSONS_SCHEMA)
