"""The three stages of a run on Ray Data: load, infer, commit; a unit per row in, a receipt per unit out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from pipeline.cluster import COMMIT_CPUS, LOAD_CPUS, ClusterPlan
from pipeline.config import RunSettings
from pipeline.handover import AnnotatedUnit, LoadedUnit
from pipeline.infer import UnitAnnotator
from pipeline.quarantine import attempt
from pipeline.receipt import Receipt
from pipeline.stage_tasks import StageContext, commit, load
from posrefine.errors import PosRefineError

__all__ = ["receipts_of"]

_TASKS_IN_FLIGHT = 2
_COMMITS_PER_ACTOR = 2
_ACTOR_START_TRIES = 5


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
        commit,
        batch_size=1,
        batch_format="pyarrow",
        # Commits are short. Without a bound, all CPUs free at a run's end would get workers for them.
        # Ray warns of a bound that is above the number of units.
        compute=TaskPoolStrategy(size=min(_COMMITS_PER_ACTOR * plan.actors, len(unit_ids))),
        num_cpus=COMMIT_CPUS,
        fn_kwargs={"context": context},
    )


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
            prepared=self._annotate.preparation.form,
            prepare_s=self._annotate.preparation.seconds,
        ).to_table()
