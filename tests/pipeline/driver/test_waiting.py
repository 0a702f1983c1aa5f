"""A run in which nothing moves ends under a name of ours, with a word about memory if that was it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import ray
from ray.data._internal.execution.no_progress_guard import NoProgressGuard
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.driver.waiting import StartingActors, waiting_for_actors
from pipeline.stages.cluster import ClusterLayout
from posrefine.errors import ActorsUnavailable, NoProgress, OutOfMemory, PosRefineError


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


def starting(started: int, plan: Any) -> StartingActors:
    """After a look at a cluster where so many have started, with no time left."""
    ledger = SimpleNamespace(actors=SimpleNamespace(remote=lambda: started))
    actors = StartingActors(ledger, plan, limit_s=0.0)
    actors.look()
    return actors


def plan_of(least: int | None) -> ClusterLayout:
    return ClusterLayout(8, 1.0, 0.0, 1, processors=8, least_actors=least)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda found: found)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 2.0})


@pytest.mark.usefixtures("without_ray")
def test_a_cluster_that_grows_must_have_the_least_number_of_actors_in_time():
    starting(3, plan_of(least=3)).require()
    with pytest.raises(ActorsUnavailable, match="3 with 1 CPUs and 0 GPUs each are wanted"):
        starting(2, plan_of(least=3)).require()
    # Where it stays as it is, Ray Data waits for them.
    starting(2, plan_of(least=None)).require()


@pytest.mark.usefixtures("without_ray")
def test_while_actors_are_missing_it_is_said_how_many_are_there():
    assert starting(0, plan_of(least=None)).missing().startswith("no inference actor has started yet; 8 with")
    assert starting(2, plan_of(least=3)).missing().startswith("2 of 3 inference actors have started yet;")


@pytest.mark.parametrize(
    ("kills", "kind", "words"),
    [(0, NoProgress, "--no-progress-timeout-s"), (3, OutOfMemory, "memory ran out")],
)
def test_a_standstill_is_told_in_words_of_ours(
    monkeypatch: pytest.MonkeyPatch, kills: int, kind: type[PosRefineError], words: str
):
    monkeypatch.setattr(ray, "get", lambda found: found)
    ledger = SimpleNamespace(
        kills=SimpleNamespace(remote=lambda: kills), actors=SimpleNamespace(remote=lambda: 1)
    )
    with pytest.raises(kind, match=words) as raised, waiting_for_actors(ledger, plan_of(None), 60.0):
        raise ExecutionTimeoutError(rays_words())
    assert "2 of MapBatches(load)" in str(raised.value)
    assert "DataContext" not in str(raised.value)
