"""The stages that are tasks: load and commit. Their workers come and go, so nothing here imports Torch."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipeline.commit import COMMITTED_AT, encode_table
from pipeline.config import RunSettings
from pipeline.handover import AnnotatedUnit, LoadedUnit
from pipeline.image_guard import ImageGuard
from pipeline.layout import OutputTree
from pipeline.load import given_up_unit, load_unit
from pipeline.manifest import Manifest
from pipeline.quarantine import attempt, report_timeout
from pipeline.readers import ReadOptions
from pipeline.receipt import Receipt
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ObjectExists
from posrefine.freed_memory import keep_freed_memory

__all__ = ["StageContext", "commit", "load"]

# Room for decoded images; the blocks that threads read ahead from shards are larger.
_LARGEST_KEPT_BYTES = 8 * 2**20


@dataclass(frozen=True)
class StageContext:
    """What the workers of all stages need; no secrets and no clients: those are made inside the workers.

    Attributes:
        settings: of the run.
        storage: how to reach input and output.
        manifest: the frozen list of units; a load task reads its own unit's entry.
        reading: how images are fetched and decoded.
        tree: where the output lies.
        metadata: key-value metadata of the unit files.
        ledger: handle of the attempt ledger.
        network: reference to the `Network` in the object store.
        image_ids: reference to the `ImageIds` there.
    """

    settings: RunSettings
    storage: Storage
    manifest: Manifest
    reading: ReadOptions
    tree: OutputTree
    metadata: dict[bytes, bytes]
    ledger: Any
    network: ray.ObjectRef
    image_ids: ray.ObjectRef


def load(batch: dict[str, np.ndarray], context: StageContext) -> pa.Table:
    """Stage 1, a task: fetch and decode a unit's images."""
    keep_freed_memory(_LARGEST_KEPT_BYTES)
    started = time.perf_counter()
    unit = context.manifest.unit(str(batch["unit_id"][0]))
    with attempt(context.ledger, "load", unit.unit_id) as (this, touch):
        if this.hopeless:
            images = given_up_unit(unit)
        else:
            time_out = partial(report_timeout, context.ledger, "load", unit.unit_id)
            guard = ImageGuard(this, touch, time_out, context.settings.image_timeout_s)
            images = load_unit(unit, context.storage, replace(context.reading, guard=guard))
    return LoadedUnit(unit.unit_id, this.number, time.perf_counter() - started, images).to_table()


def commit(batch: pa.Table, context: StageContext) -> pa.Table:
    """Stage 3, a task: put the unit's file, whole, unless it is there already."""
    started = time.perf_counter()
    unit = AnnotatedUnit.from_table(batch)
    when = {COMMITTED_AT: datetime.now(UTC).isoformat().encode()}
    data = encode_table(unit.rows, context.metadata | when)
    # Where it exists, another attempt at this unit or an earlier run was faster: the unit is done.
    with suppress(ObjectExists):
        context.storage.create(context.tree.unit(unit.unit_id), data)
    return _receipt(unit, len(data), time.perf_counter() - started).to_table()


def _receipt(unit: AnnotatedUnit, output_bytes: int, commit_s: float) -> Receipt:
    counts = unit.rows["status"].value_counts().to_pylist()
    return Receipt(
        unit_id=unit.unit_id,
        images={ImageStatus(found["values"]): found["counts"] for found in counts},
        persons=len(unit.rows["persons"].combine_chunks().flatten()),
        input_bytes=unit.input_bytes,
        output_bytes=output_bytes,
        load_s=unit.load_s,
        infer_s=unit.infer_s,
        predictor_s=unit.predictor_s,
        commit_s=commit_s,
        attempts=unit.attempts,
        prepared=unit.prepared,
        prepare_s=unit.prepare_s,
    )
