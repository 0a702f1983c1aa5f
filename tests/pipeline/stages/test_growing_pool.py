"""How many actors are asked for in a cluster whose machines come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from ray.data.context import AutoscalingConfig

from pipeline.stages.growing_pool import GrowingPool, growing_pool

MOST = 10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pool(*, running: int = 0, pending: int = 0, restarting: int = 0) -> Any:
    found = Mock()
    found.max_size.return_value = MOST
    found.current_size.return_value = running + pending
    found.num_pending_actors.return_value = pending
    found.num_restarting_actors.return_value = restarting
    return found


def test_all_that_may_be_are_asked_for_at_once():
    asking = GrowingPool()
    assert asking.change(pool(pending=1)) == MOST - 1
    assert asking.change(pool(running=4, pending=6)) == 0


def test_an_actor_that_lost_its_machine_finds_the_next_place_before_those_that_never_had_one():
    clock = Clock()
    asking = GrowingPool(clock)
    assert asking.change(pool(running=4, pending=6, restarting=2)) == 0
    clock.now += 20
    # A crashed process would be back by itself soon.
    assert asking.change(pool(running=4, pending=6, restarting=2)) == 0
    clock.now += 20
    assert asking.change(pool(running=4, pending=6, restarting=2)) == -6
    assert asking.change(pool(running=4, restarting=2)) == 0
    assert asking.change(pool(running=4)) == 6


def test_the_next_loss_is_waited_for_anew():
    clock = Clock()
    asking = GrowingPool(clock)
    asking.change(pool(running=4, pending=6, restarting=2))
    clock.now += 60
    asking.change(pool(running=4, pending=6))
    assert asking.change(pool(running=4, pending=6, restarting=1)) == 0


def step(asking: GrowingPool, found: Any, *, all_came: bool, queued: int) -> None:
    operator = Mock(_inputs_complete=all_came)
    operator.get_autoscaling_actor_pools.return_value = [found]
    state = SimpleNamespace(total_enqueued_input_blocks=lambda: queued)
    asking.on_execution_step(Mock(_topology={operator: state}))


def test_nobody_is_asked_for_when_no_units_are_left():
    for all_came, queued, asked in ((False, 0, True), (True, 3, True), (True, 0, False)):
        found = pool(running=2)
        step(GrowingPool(), found, all_came=all_came, queued=queued)
        assert found.scale.called is asked


def test_in_a_cluster_that_stays_as_it_is_ray_data_has_its_own_rule():
    untouched = AutoscalingConfig()
    data: Any = SimpleNamespace(autoscaling_config=untouched)
    growing_pool(data, grows=True)
    assert data.custom_execution_callback_classes == [GrowingPool]
    growing_pool(data, grows=False)
    assert data.custom_execution_callback_classes == []
    assert data.autoscaling_config == untouched
