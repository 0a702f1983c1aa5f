"""What the stages hand to each other inside Ray: Arrow tables of one row per unit, with explicit schemas.

Pixels travel as plain buffers, so that inference reads them in the object store itself, without a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.inputs.units import LoadedImage, Reduction
from pipeline.output.schema import UNIT_SCHEMA, ImageResult, unit_table
from posrefine.errors import ImageStatus

__all__ = ["AnnotatedUnit", "LoadedUnit"]

_IMAGE_FIELDS = [
    pa.field("image_key", pa.string()),
    pa.field("uri", pa.string()),
    pa.field("status", pa.string()),
    pa.field("error", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("exif_orientation", pa.int8()),
    pa.field("sha256", pa.string()),
    pa.field("encoded_bytes", pa.int64()),
]
_REDUCTION_FIELDS = [
    pa.field("factor", pa.int8()),
    pa.field("beyond_x", pa.int8()),
    pa.field("beyond_y", pa.int8()),
]
_PIXELS = pa.field("pixels", pa.large_binary())
_ENCODED = pa.field("encoded", pa.large_binary())
_FIELDS = [*_IMAGE_FIELDS, *_REDUCTION_FIELDS, _PIXELS, _ENCODED]
_COUNTS = pa.map_(pa.string(), pa.int64())
_LOADED_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("attempts", pa.int64()),
        ("load_s", pa.float64()),
        ("skipped", _COUNTS),
        ("images", pa.large_list(pa.struct(_FIELDS))),
    ]
)
_ROW = pa.struct(list(UNIT_SCHEMA))
_ANNOTATED_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("attempts", pa.int64()),
        ("input_bytes", pa.int64()),
        ("load_s", pa.float64()),
        ("infer_s", pa.float64()),
        ("predictor_s", pa.float64()),
        ("busy_s", pa.float64()),
        ("prepared", pa.string()),
        ("prepare_s", pa.float64()),
        ("skipped", _COUNTS),
        ("rows", pa.list_(_ROW)),
    ]
)


@dataclass(frozen=True)
class LoadedUnit:
    """A unit's images on their way to inference, and what its tar held besides them, by suffix or word."""

    unit_id: str
    attempts: int
    load_s: float
    images: Sequence[LoadedImage]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def to_table(self) -> pa.Table:
        """One row."""
        columns = [pa.array([getattr(i, f.name) for i in self.images], f.type) for f in _IMAGE_FIELDS]
        columns += [
            pa.array([getattr(i.reduction, f.name) for i in self.images], f.type) for f in _REDUCTION_FIELDS
        ]
        columns.append(_binary([image.pixels for image in self.images]))
        encoded = [image.encoded for image in self.images]
        columns.append(_binary([None if data is None else np.frombuffer(data, np.uint8) for data in encoded]))
        images = pa.StructArray.from_arrays(columns, fields=_FIELDS)
        values = [self.unit_id, self.attempts, self.load_s, list(self.skipped.items())]
        return _one_row(_LOADED_SCHEMA, values, images)

    @staticmethod
    def from_table(table: pa.Table) -> LoadedUnit:
        """The unit of a table of one row; the pixels are read-only views of the table."""
        values = {name: table[name][0].as_py() for name in ("unit_id", "attempts", "load_s")}
        images = table["images"][0].values
        pixels, encoded = images.field(_PIXELS.name), images.field(_ENCODED.name)
        fields = [*_IMAGE_FIELDS, *_REDUCTION_FIELDS]
        columns = [images.field(f.name).to_pylist() for f in fields]
        rows = [dict(zip((f.name for f in fields), row, strict=True)) for row in zip(*columns, strict=True)]
        return LoadedUnit(
            **values,
            skipped=dict(table["skipped"][0].as_py()),
            images=[_loaded_image(row, pixels[index], encoded[index]) for index, row in enumerate(rows)],
        )


def _binary(arrays: Sequence[NDArray[np.uint8] | None]) -> pa.LargeBinaryArray:
    """The bytes of each array, copied once; null for None.

    `pa.array` would keep every memoryview that it is given for as long as the process lives (seen with
    26.0.1), and copy once more whenever its buffer grows.
    """
    ends = np.cumsum([0, *(0 if array is None else array.nbytes for array in arrays)], dtype=np.int64)
    data = np.empty(ends[-1], np.uint8)
    for array, start, end in zip(arrays, ends, ends[1:], strict=False):
        if array is not None:
            data[start:end].reshape(array.shape)[...] = array
    valid = np.packbits(np.array([array is not None for array in arrays], np.bool_), bitorder="little")
    buffers = [pa.py_buffer(part) for part in (valid, ends, data)]
    return pa.Array.from_buffers(pa.large_binary(), len(arrays), buffers)


def _loaded_image(
    row: dict[str, object], pixels: pa.LargeBinaryScalar, encoded: pa.LargeBinaryScalar
) -> LoadedImage:
    status = ImageStatus(str(row.pop("status")))
    reduction = Reduction(**{field.name: int(str(row.pop(field.name))) for field in _REDUCTION_FIELDS})
    array = None
    if pixels.is_valid:
        height, width = (-(-int(str(row[side])) // reduction.factor) for side in ("height", "width"))
        array = np.frombuffer(pixels.as_buffer(), np.uint8).reshape(height, width, 3)
    return LoadedImage(
        status=status,
        pixels=array,
        encoded=encoded.as_py(),
        reduction=reduction,
        **row,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class AnnotatedUnit:
    """A unit's rows on their way to the commit, with what its receipt will say.

    Attributes:
        unit_id: the unit.
        attempts: as in the receipt, and so what stands below but the rows.
        input_bytes: encoded images read.
        load_s: seconds of loading.
        infer_s: seconds of inference.
        predictor_s: seconds inside the predictor.
        busy_s: seconds of processors inside it.
        prepared: how its actor made the network ready.
        prepare_s: seconds that this took.
        skipped: what its tar held besides images, by suffix or word.
        rows: with `UNIT_SCHEMA`.
    """

    unit_id: str
    attempts: int
    input_bytes: int
    load_s: float
    infer_s: float
    predictor_s: float
    busy_s: float
    prepared: str
    prepare_s: float
    skipped: Mapping[str, int]
    rows: pa.Table

    @staticmethod
    def of(
        loaded: LoadedUnit,
        results: Sequence[ImageResult],
        *,
        attempts: int,
        infer_s: float,
        predictor_s: float,
        busy_s: float,
        prepared: str,
        prepare_s: float,
    ) -> AnnotatedUnit:
        """The results of a loaded unit's images, in its order."""
        return AnnotatedUnit(
            unit_id=loaded.unit_id,
            attempts=max(loaded.attempts, attempts),
            input_bytes=sum(image.encoded_bytes for image in loaded.images),
            load_s=loaded.load_s,
            infer_s=infer_s,
            predictor_s=predictor_s,
            busy_s=busy_s,
            prepared=prepared,
            prepare_s=prepare_s,
            skipped=loaded.skipped,
            rows=unit_table(loaded.unit_id, results),
        )

    def to_table(self) -> pa.Table:
        """One row."""
        known = {name: getattr(self, name) for name in _ANNOTATED_SCHEMA.names if name != "rows"}
        values = list((known | {"skipped": list(self.skipped.items())}).values())
        return _one_row(_ANNOTATED_SCHEMA, values, self.rows.combine_chunks().to_struct_array().cast(_ROW))

    @staticmethod
    def from_table(table: pa.Table) -> AnnotatedUnit:
        """The unit of a table of one row."""
        values = {f.name: table[f.name][0].as_py() for f in _ANNOTATED_SCHEMA if f.name != "rows"}
        values["skipped"] = dict(values["skipped"])
        batch = pa.RecordBatch.from_struct_array(table["rows"][0].values)
        return AnnotatedUnit(**values, rows=pa.Table.from_batches([batch]).cast(UNIT_SCHEMA))


def _one_row(schema: pa.Schema, values: Sequence[object], last: pa.Array) -> pa.Table:
    """A table of one row: `values`, and the whole of `last` as one list."""
    if isinstance(last, pa.ChunkedArray):
        last = last.combine_chunks()
    lists = pa.LargeListArray if pa.types.is_large_list(schema[-1].type) else pa.ListArray
    column = lists.from_arrays([0, len(last)], last, type=schema[-1].type)
    scalars = [pa.array([value], field.type) for value, field in zip(values, schema, strict=False)]
    return pa.Table.from_arrays([*scalars, column], schema=schema)
