"""The three stages of a run on Ray Data: load, infer, commit; a unit per row in, a receipt per unit out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from pipeline.settings.run import RunSettings
from pipeline.stages.actor import InferenceActor
from pipeline.stages.cluster import ClusterLayout
from pipeline.stages.growing_pool import growing_pool
from pipeline.stages.receipt import Receipt
from pipeline.stages.tasks import StageContext, commit, load

__all__ = ["receipts_of"]

_TASKS_IN_FLIGHT = 2
_COMMITS_PER_ACTOR = 2
_ACTOR_START_TRIES = 5


def receipts_of(unit_ids: Sequence[str], context: StageContext, layout: ClusterLayout) -> Iterator[Receipt]:
    """Annotate and commit units; yields a receipt for each, in the order they finish.

    Raises:
        ray.exceptions.RayTaskError: a worker raised something that is not one image's fault.
    """
    _configure(DataContext.get_current(), context.settings, layout)
    dataset = _dataset(unit_ids, context, layout)
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from Receipt.from_table(batch)


def _configure(data: DataContext, settings: RunSettings, layout: ClusterLayout) -> None:
    data.target_max_block_size = None  # a unit is never split
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.raise_original_map_exception = True
    # Where the cluster grows, work begins with the first of them.
    data.wait_for_min_actors_s = 0 if layout.grows else settings.actor_wait_s
    growing_pool(data, grows=layout.grows)
    data.max_consecutive_actor_init_deaths = _ACTOR_START_TRIES
    data.execution_no_progress_timeout_s = settings.no_progress_timeout_s
    # Units finish in any order, and a slow one must not hold back the receipts of those behind it.
    data.execution_options.preserve_order = False


def _dataset(unit_ids: Sequence[str], context: StageContext, layout: ClusterLayout) -> Dataset:
    rows = ray.data.from_items(
        [{"unit_id": unit_id} for unit_id in unit_ids], override_num_blocks=len(unit_ids)
    )
    loaded = rows.map_batches(
        load,
        batch_size=1,
        batch_format="numpy",
        compute=None if layout.loads_at_once is None else _bounded(layout.loads_at_once, len(unit_ids)),
        num_cpus=layout.load_cpus,
        fn_kwargs={"context": context},
    )
    annotated = loaded.map_batches(
        InferenceActor,
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        # Two units at a time in an actor: while one is in the predictor, the other comes or goes.
        compute=ActorPoolStrategy(
            # More than units would wait for ever for work.
            min_size=min(layout.least_actors or layout.actors, len(unit_ids)),
            max_size=min(layout.actors, len(unit_ids)),
            max_tasks_in_flight_per_actor=_TASKS_IN_FLIGHT,
            max_concurrent_calls_per_actor=_TASKS_IN_FLIGHT,
            enable_true_multi_threading=True,
        ),
        num_cpus=layout.cpus_per_actor,
        num_gpus=layout.gpus_per_actor or None,
        fn_constructor_kwargs={"context": context, "threads": layout.threads_per_actor},
    )
    return annotated.map_batches(
        commit,
        batch_size=1,
        batch_format="pyarrow",
        # Commits are short. Without a bound, all CPUs free at a run's end would get workers for them.
        compute=_bounded(_COMMITS_PER_ACTOR * layout.actors, len(unit_ids)),
        num_cpus=layout.commit_cpus,
        fn_kwargs={"context": context},
    )


def _bounded(at_once: int, units: int) -> TaskPoolStrategy:
    """So many tasks at a time; Ray warns of a bound that is above the number of units."""
    return TaskPoolStrategy(size=min(at_once, units))
