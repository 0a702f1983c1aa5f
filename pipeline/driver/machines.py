"""A cluster without machines for the inference actors: the first one is asked for, and waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.settings.run import RunSettings
from pipeline.stages.cluster import NodeResources, cluster_layout, cluster_nodes
from posrefine.errors import ActorsUnavailable, ConfigurationError

__all__ = ["wait_for_machines", "wanted_and_free"]

logger = logging.getLogger(__name__)

_FIRST_WORD_S = 30.0
_NEXT_WORD_S = 120.0
_LOOK_AGAIN_S = 1.0


def wait_for_machines(settings: RunSettings) -> tuple[RunSettings, list[NodeResources]]:
    """The machines of the connected cluster; where none has place for an actor yet, with the first that has.

    A task of an actor's size that finds no place is what asks Ray's autoscaler for a machine.

    Args:
        settings: of the run. A cluster that stays as it is, and has machines, is taken as it is.

    Returns:
        The settings, which say that the cluster grows where it had no machine; and the machines.

    Raises:
        ActorsUnavailable: none came within `actor_wait_s`.
    """
    nodes = cluster_nodes()
    if nodes and not settings.grows:
        return settings, nodes
    settings = settings.growing()
    if not _has_place(settings, nodes):
        with _asked_for_a_machine(settings) as wanted:
            nodes = _first_to_come(settings, wanted)
    return settings, nodes


@contextmanager
def _asked_for_a_machine(settings: RunSettings) -> Iterator[str]:
    """While the block lasts, such a machine is asked for; yields what is wanted, in words."""
    gpus = settings.num_gpus_per_actor
    if gpus is None:
        gpus = 1.0 if settings.device == "cuda" else 0.0
    cpus = settings.num_cpus_per_actor or 1.0
    asked = ray.remote(lambda: None).options(num_cpus=cpus, num_gpus=gpus or None, max_retries=-1).remote()
    try:
        yield wanted_and_free(settings.min_actors or 1, cpus, gpus)
    finally:
        ray.cancel(asked, force=True)


def _first_to_come(settings: RunSettings, wanted: str) -> list[NodeResources]:
    begun = time.monotonic()
    next_word = begun + _FIRST_WORD_S
    while not _has_place(settings, nodes := cluster_nodes()):
        now = time.monotonic()
        if now - begun > settings.actor_wait_s:
            raise ActorsUnavailable(
                f"no machine for an inference actor came within {settings.actor_wait_s:g} s; {wanted}; "
                "start one, see what keeps the cluster's autoscaler from it, or give more time by "
                "--actor-wait-s"
            )
        if now > next_word:
            logger.warning(
                "no machine for an inference actor has come yet; %s; this run asks the cluster's autoscaler "
                "for one, and waits at most %g s",
                *(wanted, settings.actor_wait_s),
            )
            next_word = now + _NEXT_WORD_S
        time.sleep(_LOOK_AGAIN_S)
    return nodes


def _has_place(settings: RunSettings, nodes: list[NodeResources]) -> bool:
    try:
        cluster_layout(settings, nodes)
    except ConfigurationError:
        return False
    return True


def wanted_and_free(actors: int, cpus: float, gpus: float) -> str:
    """What so many actors of such a size want, beside what the cluster has free; in words."""
    free = ray.available_resources()
    return (
        f"{actors} with {cpus:g} CPUs and {gpus:g} GPUs each are wanted, "
        f"the cluster has {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs free"
    )
