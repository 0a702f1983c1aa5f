"""The stages that are tasks: load and commit. Their workers come and go, so nothing here imports Torch."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipeline.inputs.load import given_up_unit, load_unit
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.readers import ReadOptions
from pipeline.inputs.units import Unit
from pipeline.output.lease import LeaseWitness
from pipeline.output.person_count import PersonCount
from pipeline.output.run_output import RunOutput
from pipeline.output.unit_footer import encode_unit
from pipeline.settings.run import RunSettings
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from pipeline.stages.image_guard import ImageGuard
from pipeline.stages.quarantine import attempt
from pipeline.stages.receipt import Receipt
from pipeline.stages.retried_units import commit_again, failed_part, known_uris, read_unit
from posrefine.errors import ImageStatus, InvariantBroken, ObjectExists
from posrefine.freed_memory import keep_freed_memory

__all__ = ["StageContext", "commit", "committed", "load", "unit_to_do"]

# Room for decoded images; the blocks that threads read ahead from shards are larger.
_LARGEST_KEPT_BYTES = 8 * 2**20


@dataclass(frozen=True)
class StageContext:
    """What the workers of all stages need; no secrets and no clients: those are made inside the workers.

    Attributes:
        settings: of the run.
        manifest: the frozen list of units; a load task reads its own unit's entry.
        reading: how images are fetched and decoded.
        output: where the units' files go; its storage reaches the input as well.
        witness: of the lease under which they are written.
        generation: of that lease.
        again: whether finished units are worked on again, where images of theirs failed.
        metadata: key-value metadata of the unit files.
        ledger: handle of the attempt ledger; this and what follows is there where the stages run on Ray.
        network: reference to the `Network` in the object store.
        image_names: reference to the `NamedImages` there.
    """

    settings: RunSettings
    manifest: Manifest
    reading: ReadOptions
    output: RunOutput
    witness: LeaseWitness
    generation: int
    again: bool
    metadata: dict[bytes, bytes]
    ledger: Any = None
    network: ray.ObjectRef | None = None
    image_names: ray.ObjectRef | None = None


def unit_to_do(unit_id: str, context: StageContext) -> tuple[Unit, frozenset[str]]:
    """A unit as far as there is work to do in it, and its images that are to be passed over."""
    unit = context.manifest.unit(unit_id)
    if not context.again:
        return unit, frozenset()
    old, _ = read_unit(context.output, unit_id)
    return failed_part(unit, old, context.output.storage), known_uris(old)


def load(batch: dict[str, np.ndarray], context: StageContext) -> pa.Table:
    """Stage 1, a task: fetch and decode a unit's images."""
    keep_freed_memory(_LARGEST_KEPT_BYTES)
    started = time.perf_counter()
    storage = context.output.storage
    unit, known = unit_to_do(str(batch["unit_id"][0]), context)
    skipped: Counter[str] = Counter()
    with attempt(context.ledger, "load", unit.unit_id) as opened:
        this, guard = opened.this, ImageGuard(opened, context.settings.image_timeout_s)
        reading = replace(
            context.reading, guard=guard, decoded_bytes=this.less(context.reading.decoded_bytes)
        )
        images = given_up_unit(unit) if this.hopeless else load_unit(unit, storage, reading, skipped)
        images = [image for image in images if image.uri not in known]
        load_s = time.perf_counter() - started
        return LoadedUnit(unit.unit_id, this.number, load_s, images, skipped).to_table()


def commit(batch: pa.Table, context: StageContext) -> pa.Table:
    """Stage 3, a task: put the unit's file, whole, unless it is there already."""
    unit = AnnotatedUnit.from_table(batch)
    with attempt(context.ledger, "commit", unit.unit_id) as opened:
        if opened.this.hopeless:
            raise InvariantBroken(
                f"unit {unit.unit_id}: workers crash while they write its file, {opened.this.number - 1} "
                "times so far; no image is blamed, and nothing else is lost"
            )
        return committed(unit, context).to_table()


def committed(unit: AnnotatedUnit, context: StageContext) -> Receipt:
    """Put the unit's file, in this process."""
    started = time.perf_counter()
    encode = partial(
        encode_unit,
        metadata=context.metadata,
        min_score=context.settings.min_score,
        committed_at=datetime.now(UTC),
        skipped=unit.skipped,
        lease_generation=context.generation,
    )
    if context.again:
        size_bytes = commit_again(context.output, context.witness, unit.unit_id, unit.rows, encode)
    else:
        data = encode(unit.rows)
        size_bytes = len(data)
        context.witness.confirm()
        # Where it exists, another attempt at this unit or an earlier run was faster: the unit is done.
        with suppress(ObjectExists):
            context.output.storage.create(context.output.tree.unit(unit.unit_id), data)
    people = PersonCount.of(unit.rows["persons"], context.settings.min_score)
    return _receipt(unit, people, size_bytes, time.perf_counter() - started)


def _receipt(unit: AnnotatedUnit, people: PersonCount, output_bytes: int, commit_s: float) -> Receipt:
    counts = unit.rows["status"].value_counts().to_pylist()
    return Receipt(
        unit_id=unit.unit_id,
        images={ImageStatus(found["values"]): found["counts"] for found in counts},
        persons=people.counted,
        persons_below=people.below,
        input_bytes=unit.input_bytes,
        output_bytes=output_bytes,
        load_s=unit.load_s,
        infer_s=unit.infer_s,
        predictor_s=unit.predictor_s,
        busy_s=unit.busy_s,
        commit_s=commit_s,
        attempts=unit.attempts,
        prepared=unit.prepared,
        prepare_s=unit.prepare_s,
    )
