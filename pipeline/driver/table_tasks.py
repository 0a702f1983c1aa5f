"""Writes the tables' files on all cores of the cluster where there are many of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from pipeline.output.counts import GroupCounts
from pipeline.output.finalize import in_this_process
from pipeline.output.group import GroupUnits, GroupWriter

__all__ = ["on_all_cores"]

# A group of 512 units takes a second or a few. Ray's start takes as long as several; where it has been
# started, the first task waits for a worker to begin.
_WORTH_STARTING_RAY = 12
_WORTH_A_WORKER = 8
_TASKS_PER_CPU = 2


def on_all_cores(writer: GroupWriter, groups: Iterable[GroupUnits], count: int) -> Iterator[GroupCounts]:
    """A `WriteGroups`: in Ray tasks where there are many groups and CPUs, else in this process.

    Raises:
        PosRefineError: what a task raised.
        ClusterLost: Ray is gone; files that were written belong to no table yet.
    """
    if count < (_WORTH_A_WORKER if _ray_is_there() else _WORTH_STARTING_RAY):
        yield from in_this_process(writer, groups, count)
        return
    # A night without anything new does without Ray, and without importing it.
    import ray

    from pipeline.driver.ray_watch import while_ray_is_there
    from pipeline.ray_session import ray_session, unwrapped_worker_errors

    with ray_session(), unwrapped_worker_errors():
        if ray.cluster_resources().get("CPU", 0) < 1:
            # A cluster whose workers are all gone, or yet to come; this machine is there.
            yield from in_this_process(writer, groups, count)
        else:
            yield from while_ray_is_there(_in_tasks(writer, groups))


def _ray_is_there() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _in_tasks(writer: GroupWriter, groups: Iterable[GroupUnits]) -> Iterator[GroupCounts]:
    """As they are done; a few wait, so that no core does."""
    import ray

    task, shared = ray.remote(num_cpus=1)(_written), ray.put(writer.elsewhere())
    most = max(1, int(ray.cluster_resources().get("CPU", 0))) * _TASKS_PER_CPU
    pending: list[ray.ObjectRef] = []
    for group in groups:
        if len(pending) == most:
            done, pending = ray.wait(pending, num_returns=1)
            yield ray.get(done[0])
        pending.append(task.remote(shared, group))
    while pending:
        done, pending = ray.wait(pending, num_returns=1)
        yield ray.get(done[0])


def _written(writer: GroupWriter, group: GroupUnits) -> GroupCounts:
    return writer.write(group)
