"""How the stages share a Ray cluster: CPUs of the tasks, and number and size of the inference actors."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from pipeline.config import RunSettings
from posrefine.errors import ConfigurationError

__all__ = ["COMMIT_CPUS", "LOAD_CPUS", "ClusterPlan", "NodeResources", "cluster_nodes", "plan_cluster"]

# Numbers that nobody gives an actor, because Ray fuses stages that ask for the same.
LOAD_CPUS = 0.49
COMMIT_CPUS = 0.24


@dataclass(frozen=True)
class NodeResources:
    """What one machine of the cluster offers."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class ClusterPlan:
    """The inference actors: how many, and what each one is given."""

    actors: int
    cpus_per_actor: float
    gpus_per_actor: float


def cluster_nodes() -> list[NodeResources]:
    """The living machines of the connected Ray cluster that have CPUs."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [NodeResources(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in resources]
    return [node for node in nodes if node.cpus > 0]


def plan_cluster(settings: RunSettings, nodes: list[NodeResources]) -> ClusterPlan:
    """Fill in what the settings leave open: an actor for every GPU, or for every machine without GPUs.

    Raises:
        ConfigurationError: the actors asked for do not fit any machine, or leave no CPU for loading.
    """
    if not nodes:
        raise ConfigurationError("the Ray cluster has no machine with CPUs; start one that has")
    has_gpus = settings.device != "cpu" and any(node.gpus for node in nodes)
    gpus = settings.num_gpus_per_actor
    if gpus is None:
        gpus = 1.0 if has_gpus or settings.device == "cuda" else 0.0
    cpus = settings.num_cpus_per_actor or _default_cpus(nodes, gpus)
    room = sum(_actors_on(node, cpus, gpus) for node in nodes)
    actors = settings.actors or room
    if actors > room or room == 0:
        machines = ", ".join(f"{node.cpus:g} CPUs {node.gpus:g} GPUs" for node in nodes)
        raise ConfigurationError(
            f"{actors or 1} actors of {cpus:g} CPUs and {gpus:g} GPUs: the cluster has room for {room} "
            f"beside the loading tasks (machines: {machines}); "
            "lower --actors, --num-cpus-per-actor or --num-gpus-per-actor, or add machines"
        )
    return ClusterPlan(actors, cpus, gpus)


def _default_cpus(nodes: list[NodeResources], gpus_per_actor: float) -> float:
    """Beside a GPU one CPU; without, what the smallest machine can spare: loading needs some."""
    smallest = min(node.cpus for node in nodes)
    if smallest <= 2:
        # Of two CPUs more than one, so that two actors never share the machine when another one is lost: no
        # CPU would be left to load anything.
        return smallest - LOAD_CPUS - COMMIT_CPUS
    return 1.0 if gpus_per_actor else smallest - 1.0


def _actors_on(node: NodeResources, cpus: float, gpus: float) -> int:
    by_cpu = int((node.cpus - LOAD_CPUS - COMMIT_CPUS) / cpus)
    return min(by_cpu, int(node.gpus / gpus)) if gpus else by_cpu
