"""Scores parts of the predictions in Ray tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import ray

from pipeline.evaluation.parts import ScoredPart, Wanted, score_part
from pipeline.evaluation.predictions import PredictionPart
from pipeline.ground_truth.annotations import Annotations
from pipeline.ray_session import ray_session, unwrapped_worker_errors
from posrefine.metrics import OksRules

__all__ = ["score_in_tasks"]

_TASKS_PER_CPU = 2


def score_in_tasks(
    parts: Sequence[PredictionPart],
    annotations: Annotations,
    rules: OksRules,
    wanted: Wanted,
) -> Iterator[ScoredPart]:
    """In the order of the parts, a few tasks ahead; a task that fails for good raises its own error here.

    The annotations go to the object store once; workers on one machine map the same copy.
    """
    with ray_session(), unwrapped_worker_errors():
        shared = ray.put(annotations)
        task = ray.remote(num_cpus=1)(score_part)
        window = max(1, int(ray.cluster_resources().get("CPU", 1))) * _TASKS_PER_CPU
        pending: deque[ray.ObjectRef] = deque()
        for part in parts:
            if len(pending) == window:
                yield ray.get(pending.popleft())
            pending.append(task.remote(part, shared, rules, wanted))
        while pending:
            yield ray.get(pending.popleft())
