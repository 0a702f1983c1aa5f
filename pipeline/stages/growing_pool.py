"""The pool of inference actors in a cluster whose machines come and go.

Ray Data's own rule is of no use here. It adds actors only where its budget of CPUs has room for them, and
that keeps shares for loading and committing which these never take: on a machine of eight cores it would stop
at six actors of one core, on one of two at a single one. So all that may be are asked for at once, and those
that find no place wait: Ray places them the moment a machine comes, and its autoscaler sees by them how many
machines are wanted.

An actor whose machine went starts again, with the two units that it was at. It would queue up behind all that
wait for their first place, and for as long as there are fewer machines than wanted its units would not be
done. So those step back until it has found one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.data import DataContext
from ray.data._internal.actor_autoscaler import ActorPoolScalingRequest, AutoscalingActorPool
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.context import AutoscalingConfig

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

__all__ = ["GrowingPool", "growing_pool"]

# An actor that died with its process is back by then; one that is not waits for a machine.
_RESTART_S = 30.0


class GrowingPool(ExecutionCallback):  # type: ignore[misc] # Ray is without types
    """Asks for actors as they are wanted, at each step of Ray Data's loop.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._restarting_since: float | None = None

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Called by Ray Data."""
        for operator, state in (executor._topology or {}).items():
            # Once no more units come, Ray Data lets actors go that have nothing left to do.
            if operator._inputs_complete and not state.total_enqueued_input_blocks():
                continue
            for pool in operator.get_autoscaling_actor_pools():
                change = self.change(pool)
                if change:
                    pool.scale(ActorPoolScalingRequest(delta=change, force=True))

    def change(self, pool: AutoscalingActorPool) -> int:
        """How many actors are to be asked for now, or, below zero, to wait no longer."""
        if not pool.num_restarting_actors():
            self._restarting_since = None
            return int(pool.max_size() - pool.current_size())
        if self._restarting_since is None:
            self._restarting_since = self._clock()
        if self._clock() - self._restarting_since < _RESTART_S:
            return 0
        return -int(pool.num_pending_actors())


def growing_pool(data: DataContext, *, grows: bool) -> None:
    """Have Ray Data's pools of actors sized here, or, in a cluster that stays as it is, by Ray Data."""
    data.custom_execution_callback_classes = [GrowingPool] if grows else []
    # Neither is ever reached: use lies between none and all.
    data.autoscaling_config = (
        AutoscalingConfig(
            actor_pool_util_upscaling_threshold=float("inf"), actor_pool_util_downscaling_threshold=-1.0
        )
        if grows
        else AutoscalingConfig()
    )
