"""The three stages of a run on Ray Data: load, infer, commit; a unit per row in, a receipt per unit out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset

from pipeline.cluster import COMMIT_CPUS, LOAD_CPUS, ClusterPlan
from pipeline.commit import COMMITTED_AT, encode_table
from pipeline.config import RunSettings
from pipeline.handover import AnnotatedUnit, LoadedUnit
from pipeline.image_guard import ImageGuard
from pipeline.infer import UnitAnnotator
from pipeline.layout import OutputTree
from pipeline.load import given_up_unit, load_unit
from pipeline.manifest import Manifest
from pipeline.quarantine import attempt, report_timeout
from pipeline.readers import ReadOptions
from pipeline.receipt import Receipt
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ObjectExists, PosRefineError

__all__ = ["StageContext", "receipts_of"]

_TASKS_IN_FLIGHT = 2
_ACTOR_START_TRIES = 5


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


def receipts_of(unit_ids: Sequence[str], context: StageContext, plan: ClusterPlan) -> Iterator[Receipt]:
    """Annotate and commit units; yields a receipt for each, in the order they finish.

    Raises:
        ray.exceptions.RayTaskError: a worker raised something that is not one image's fault.
    """
    _configure(DataContext.get_current(), context.settings)
    dataset = _dataset(unit_ids, context, plan)
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from Receipt.from_table(batch)


def _configure(data: DataContext, settings: RunSettings) -> None:
    data.target_max_block_size = None  # a unit is never split
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.raise_original_map_exception = True
    data.wait_for_min_actors_s = settings.actor_wait_s
    data.max_consecutive_actor_init_deaths = _ACTOR_START_TRIES
    data.execution_no_progress_timeout_s = settings.no_progress_timeout_s
    # Units finish in any order, and a slow one must not hold back the receipts of those behind it.
    data.execution_options.preserve_order = False


def _dataset(unit_ids: Sequence[str], context: StageContext, plan: ClusterPlan) -> Dataset:
    rows = ray.data.from_items(
        [{"unit_id": unit_id} for unit_id in unit_ids], override_num_blocks=len(unit_ids)
    )
    loaded = rows.map_batches(
        load, batch_size=1, batch_format="numpy", num_cpus=LOAD_CPUS, fn_kwargs={"context": context}
    )
    annotated = loaded.map_batches(
        InferenceActor,
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        # Two units at a time in an actor: while one is in the predictor, the other comes or goes.
        compute=ActorPoolStrategy(
            size=plan.actors,
            max_tasks_in_flight_per_actor=_TASKS_IN_FLIGHT,
            max_concurrent_calls_per_actor=_TASKS_IN_FLIGHT,
            enable_true_multi_threading=True,
        ),
        num_cpus=plan.cpus_per_actor,
        num_gpus=plan.gpus_per_actor or None,
        fn_constructor_kwargs={"context": context, "threads": max(1, int(plan.cpus_per_actor))},
    )
    return annotated.map_batches(
        commit, batch_size=1, batch_format="pyarrow", num_cpus=COMMIT_CPUS, fn_kwargs={"context": context}
    )


def load(batch: dict[str, np.ndarray], context: StageContext) -> pa.Table:
    """Stage 1, a task: fetch and decode a unit's images."""
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


class InferenceActor:
    """Stage 2, an actor: find the poses in a unit's images."""

    def __init__(self, context: StageContext, threads: int) -> None:
        torch.set_num_threads(threads)
        self._ledger = context.ledger
        ray.get(self._ledger.announce_actor.remote())
        device = context.settings.device
        if device == "auto":
            device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
        network, image_ids = ray.get([context.network, context.image_ids])
        try:
            self._annotate: UnitAnnotator | PosRefineError = UnitAnnotator(
                network, context.settings, device, image_ids
            )
        except PosRefineError as error:
            # Raised here, it would reach the driver as text alone; the first unit raises it as itself.
            self._annotate = error

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One unit."""
        started = time.perf_counter()
        if isinstance(self._annotate, PosRefineError):
            raise self._annotate
        unit = LoadedUnit.from_table(batch)
        with attempt(self._ledger, "inference", unit.unit_id) as (this, touch):
            try:
                found = (
                    self._annotate.one_by_one(unit.images, this, touch)
                    if this.isolated
                    else self._annotate(unit.images)
                )
            except torch.AcceleratorError:
                # A failed kernel leaves the process's device context unusable: die, so that Ray starts
                # another actor and the ledger counts the attempt.
                os._exit(1)
        return AnnotatedUnit.of(
            unit,
            found.results,
            attempts=this.number,
            infer_s=time.perf_counter() - started,
            predictor_s=found.predictor_s,
        ).to_table()


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
    )
