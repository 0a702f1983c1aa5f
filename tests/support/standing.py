"""A standing data set whose network does nothing: an image's bytes say how many persons are in it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from support.rows import result_of, some_poses

from pipeline.driver.replace import replace_network, switch, work_of
from pipeline.driver.retry import try_again
from pipeline.driver.run import Job, go_on
from pipeline.driver.sync import bring_up_to_date
from pipeline.inputs.load import load_unit
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.readers import ReadOptions
from pipeline.output.lock import RunLock
from pipeline.output.outcome import Outcome
from pipeline.output.record import Fingerprint, NetworkIdentity, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table
from pipeline.output.unit_footer import encode_unit
from pipeline.output.writer import OutputWriter
from pipeline.settings.run import RunSettings
from pipeline.settings.sync import SyncSettings
from pipeline.stages.retried_units import commit_again, failed_part, known_uris, read_unit
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ObjectExists

__all__ = ["DoNothingNetwork", "Standing", "persons_in", "picture"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=256)
def picture(seed: int, side_px: int = 4) -> bytes:
    """A tiny image file, another one for each seed; what is below 0 is none."""
    if seed < 0:
        return f"no picture {seed}".encode()
    file = io.BytesIO()
    colour = np.array([seed % 251, seed // 251 % 251, 7], np.uint8)
    Image.fromarray(np.broadcast_to(colour, (side_px, side_px, 3)).copy()).save(file, "PNG")
    return file.getvalue()


def persons_in(data: bytes, network: int = 0) -> int:
    """That the network which does nothing finds in an image file."""
    return (hashlib.sha256(data).digest()[0] + network) % 3


class DoNothingNetwork:
    """Takes the place of `Drive`, in this process.

    Args:
        number: networks of other numbers find other persons.
    """

    tally = None

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def annotate(
        self,
        pending: Sequence[str],
        manifest: Manifest,
        record: RunRecord,
        writer: OutputWriter,
        *,
        again: object = None,
    ) -> None:
        encode = partial(
            encode_unit,
            metadata=record.table_metadata().encode(),
            min_score=record.min_score,
            committed_at=NOW,
        )
        storage, tree = writer.output.storage, writer.output.tree
        for unit_id in pending:
            unit, known = manifest.unit(unit_id), frozenset[str]()
            if again:
                old, _ = read_unit(writer.output, unit_id)
                unit, known = failed_part(unit, old, storage), known_uris(old)
            images = [image for image in load_unit(unit, storage, ReadOptions()) if image.uri not in known]
            rows = self._rows(unit_id, images)
            if again:
                commit_again(writer.output, writer.lock.witness, unit_id, rows, encode)
                continue
            try:
                storage.create(tree.unit(unit_id), encode(rows))
            except ObjectExists:
                continue

    def _rows(self, unit_id: str, images: Sequence[Any]) -> pa.Table:
        return unit_table(
            unit_id,
            [
                result_of(
                    image,
                    some_poses((int(image.sha256[:2], 16) + self.number) % 3, int(image.sha256[:6], 16))
                    if image.status is ImageStatus.OK
                    else None,
                )
                for image in images
            ],
        )


@dataclass
class Standing:
    """An input and the output that is kept true to it."""

    storage: Storage
    input: str
    output_uri: str
    changes: dict[str, Any] = field(default_factory=dict)
    network: int = 0

    @property
    def output(self) -> RunOutput:
        return RunOutput.at(self.output_uri, self.storage)

    @property
    def settings(self) -> SyncSettings:
        given: dict[str, Any] = {
            "input": self.input, "output": self.output_uri, "model": "m", "weights": "w", "unit_images": 2,
            "table_units": 2, "max_error_rate": 1.0, "precision": "float32", "replaced_grace_s": 0,
            "accept_empty": True,
        }  # fmt: skip
        return SyncSettings(**given | self.changes)

    def writer(self) -> RunLock:
        return RunLock(self.storage, self.output.tree.lock, 60, beats=False)

    def sync(self) -> Outcome:
        """As the command does it, but for the network."""
        output, record = self.output, self.output.record()
        with self.writer() as lock:
            writer = OutputWriter(output, lock)
            if record is None or (output.counts() is None and len(output.generations(record)) == 1):
                fingerprint = self.fingerprint
                given = self.settings.model_dump(include=set(RunSettings.model_fields))
                job = Job(RunSettings(**given), output, _NoNote(), None, fingerprint, NOW)  # type: ignore[arg-type]
                return go_on(job, writer, DoNothingNetwork(self.network))  # type: ignore[arg-type]
            return bring_up_to_date(self.settings, writer, record, lambda: DoNothingNetwork(self.network))

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.of(self.settings, NetworkIdentity(str(self.network), None, "official", 64), None)

    def replace(self, network: int) -> Outcome:
        """`sync --replace` with another network."""
        new = replace(self, network=network)
        if self.output.require_record().fingerprint == new.fingerprint:
            return new.sync()
        work = work_of(new.fingerprint)
        unfinished = replace_network(
            self.settings, self.output, work, lambda given: replace(new, output_uri=given.output).sync()
        )
        if unfinished is not None:
            return unfinished
        with self.writer() as lock:
            return switch(OutputWriter(self.output, lock), work, self.settings)

    def retry(self) -> Outcome:
        """`retry-failed`."""
        record = self.output.require_record()
        with self.writer() as lock:
            writer = OutputWriter(self.output, lock)
            return try_again(writer, record, DoNothingNetwork(self.network), True, NOW)  # type: ignore[arg-type]

    def rows(self, as_of: int | None = None) -> list[tuple[str, str, int]]:
        """Address, status and persons of each image in the tables."""
        log = self.output.log("images")
        if not (log.snapshot().files if as_of is None else log.as_of(as_of)):
            return []
        rows = RunOutput.at(self.output_uri, self.storage, as_of).rows()
        return sorted(
            (image.uri, image.status.value, 0 if image.poses is None else len(image.poses))
            for image in rows.images()
        )


class _NoNote:
    note = None
