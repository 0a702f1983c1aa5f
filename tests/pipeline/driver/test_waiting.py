"""A run in which nothing moves ends under a name of ours, with a word about memory if that was it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import ray
from ray.data._internal.execution.no_progress_guard import NoProgressGuard
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.driver.waiting import waiting_for_actors
from posrefine.errors import NoProgress, OutOfMemory, PosRefineError


def rays_words() -> str:
    """As Ray's own guard says them."""
    clock = iter([0.0, 100.0, 1900.0])
    metrics = SimpleNamespace(num_outputs_taken=7, num_tasks_finished=7)
    stage = Mock(metrics=metrics)
    stage.name = "MapBatches(load)"
    stage.has_completed.return_value, stage.num_active_tasks.return_value = False, 2
    state = SimpleNamespace(total_enqueued_input_blocks=lambda: 0, total_enqueued_output_blocks=lambda: 0)
    guard: Any = NoProgressGuard({stage: state}, 1800.0, clock=lambda: next(clock))
    return str(guard._error_message())


@pytest.mark.parametrize(
    ("kills", "kind", "words"),
    [(0, NoProgress, "--no-progress-timeout-s"), (3, OutOfMemory, "memory ran out")],
)
def test_a_standstill_is_told_in_words_of_ours(
    monkeypatch: pytest.MonkeyPatch, kills: int, kind: type[PosRefineError], words: str
):
    monkeypatch.setattr(ray, "get", lambda found: found)
    ledger = SimpleNamespace(kills=SimpleNamespace(remote=lambda: kills))
    with pytest.raises(kind, match=words) as raised, waiting_for_actors(ledger, Mock(), 60.0):
        raise ExecutionTimeoutError(rays_words())
    assert "2 of MapBatches(load)" in str(raised.value)
    assert "DataContext" not in str(raised.value)
