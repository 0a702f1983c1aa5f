"""An output whose units hold made-up rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from support.rows import result_of, some_poses

from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.manifest import Manifest, write_manifest
from pipeline.inputs.units import LoadedImage, Unit
from pipeline.output.counts import TableCounts
from pipeline.output.finalize import WriteGroups, finalize, in_this_process
from pipeline.output.publish import clean_tables
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table
from pipeline.output.unit_footer import encode_unit
from pipeline.output.writer import writing
from pipeline.storage import Storage
from posrefine.errors import ImageStatus

__all__ = ["FINGERPRINT", "START", "STORAGE", "MadeUpOutput"]

STORAGE = Storage()
START = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = Fingerprint(
    schema_version=1, input="/in", split_tars=True, include=(), exclude=(),
    image_column=None, key_column=None, annotations_sha256=None, model="m", skeleton="coco",
    weights_sha256="0",
    score_weights_sha256=None, protocol="official", input_size=64, scales=(1.0,), flip=True,
    nms_threshold=None, precision="float32", exif="apply", decode_smaller=True, max_pixels=1,
    max_image_bytes=1,
)  # fmt: skip


class MadeUpOutput:
    """An output whose units hold made-up rows for the files of a folder."""

    def __init__(self, folder: Path, images: int, table_units: int) -> None:
        given = folder / "in"
        given.mkdir()
        for index in range(images):
            (given / f"{index:03d}.jpg").write_bytes(b"x")
        self.output = RunOutput.at(str(folder / "out"), STORAGE)
        self.tree = self.output.tree
        options = CutOptions(unit_images=2)
        self.manifest: Manifest = write_manifest(str(given), self.tree.manifest("made-up"), STORAGE, options)
        self.record = self.record_of(self.manifest, table_units)

    @staticmethod
    def record_of(manifest: Manifest, table_units: int) -> RunRecord:
        return RunRecord(
            fingerprint=FINGERPRINT, manifest_digest=manifest.summary.digest, units=manifest.summary.units,
            images=manifest.summary.images, skipped=manifest.summary.skipped, input_bytes=0,
            table_units=table_units, settings={"min_score": 0.5}, weights="w", code_version="1",
            created_at=datetime.now(UTC),
        )  # fmt: skip

    def write_unit(self, unit: Unit, persons: list[int | None], *, leave_out: int = 0) -> None:
        results = []
        for entry, count in zip(unit.objects, persons, strict=True):
            status = ImageStatus.CORRUPT if count is None else ImageStatus.OK
            image = LoadedImage(entry.key, entry.uri, status)
            results.append(result_of(image, None if count is None else some_poses(count, count)))
        rows = unit_table(unit.unit_id, results[leave_out:])
        self.put_rows(unit.unit_id, rows)

    def put_rows(self, unit_id: str, rows: pa.Table, record: RunRecord | None = None) -> None:
        metadata = (record or self.record).table_metadata().encode()
        STORAGE.put(self.tree.unit(unit_id), encode_unit(rows, metadata, min_score=0.5, committed_at=START))

    def write_all(self, persons: list[int | None]) -> None:
        rest = list(persons)
        for unit in self.manifest.units():
            self.write_unit(unit, [rest.pop(0) for _ in unit.objects])

    def finalize(self, write: WriteGroups = in_this_process) -> TableCounts:
        with writing(self.output, 60) as writer:
            counts = finalize(writer, self.record, self.manifest, write=write)
            clean_tables(writer, 0)
            return counts
