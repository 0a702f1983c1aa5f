"""How the stages share a Ray cluster: CPUs of the tasks, and number and size of the inference actors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from pipeline.settings.run import RunSettings
from pipeline.stages.shares import (
    COMMIT_CPUS,
    LOAD_CPUS,
    SLIGHT_COMMIT_CPUS,
    SLIGHT_LOAD_CPUS,
    actors_for,
    kept_for_tasks,
    loading_tasks,
    rounded_down,
    share_of_threads,
    share_on_any_machine,
)
from posrefine.errors import ConfigurationError
from posrefine.inference.fast.device import no_such_device

__all__ = [
    "ClusterLayout",
    "NodeResources",
    "actor_bytes",
    "cluster_layout",
    "cluster_nodes",
    "processors_of",
]

_KINDS_SHOWN = 5
# Of a cluster that grows without a bound that we know: Ray's autoscaler looks at no more that wait.
_MOST_ACTORS = 1_000
# On the GPUs of a cluster that grows. Ray Data takes the CPUs of actors that wait for a place for used: these
# would be missing for loading on the machines that are there.
_CPUS_BESIDE_A_GPU = 0.001

# A predictor in a process of its own peaked at 0.5 GB for posrefine_tiny at 256 px, at 0.7 for dekr_w32 at
# 512 and 0.9 at 1024 px, and for dekr_w48 at 640; an actor holds two units of images, and what Ray keeps.
_ACTOR_BYTES = 1.0e9
_BYTES_PER_VIEW_PX = 1.5e3


@dataclass(frozen=True)
class NodeResources:
    """What one machine of the cluster offers; memory in bytes, as Ray counts it."""

    cpus: float
    gpus: float
    memory_bytes: float = math.inf


@dataclass(frozen=True)
class ClusterLayout:
    """The inference actors: how many, and what each one is given; and what tasks and run are measured by.

    Attributes:
        actors: number of them; in a cluster that grows, the most of them.
        cpus_per_actor: by which Ray places them.
        gpus_per_actor: the same.
        threads_per_actor: with which each computes on a CPU.
        processors: GPUs of the cluster where the actors are on GPUs, else its CPU cores, used or not: what
            the run's speed is held against.
        load_cpus: by which Ray places a loading task.
        commit_cpus: the same of a committing one.
        loads_at_once: most loading tasks at a time; None: as many as their CPUs allow.
        least_actors: in a cluster that grows, how many of them must have started in time; None: the cluster
            stays as it is, and all of them must.
    """

    actors: int
    cpus_per_actor: float
    gpus_per_actor: float
    threads_per_actor: int
    processors: float
    load_cpus: float = LOAD_CPUS
    commit_cpus: float = COMMIT_CPUS
    loads_at_once: int | None = None
    least_actors: int | None = None

    @property
    def grows(self) -> bool:
        """Whether actors take machines as these come."""
        return self.least_actors is not None


def cluster_nodes() -> list[NodeResources]:
    """The living machines of the connected Ray cluster that have CPUs."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [
        NodeResources(found.get("CPU", 0.0), found.get("GPU", 0.0), found.get("memory", math.inf))
        for found in resources
    ]
    return [node for node in nodes if node.cpus > 0]


def processors_of(nodes: Sequence[NodeResources], *, on_gpus: bool) -> float:
    """What the speed of a run on these machines is held against: their GPUs, or else their cores."""
    return sum(node.gpus if on_gpus else node.cpus for node in _with_room(nodes))


def actor_bytes(settings: RunSettings, input_size_px: int) -> float:
    """Memory that an inference actor may come to take on a CPU; more than was ever measured.

    Args:
        settings: their largest test scale counts.
        input_size_px: short side of the network's input.
    """
    return _ACTOR_BYTES + _BYTES_PER_VIEW_PX * (input_size_px * max(settings.scales)) ** 2


def cluster_layout(
    settings: RunSettings, nodes: Sequence[NodeResources], bytes_per_actor: float = 0.0
) -> ClusterLayout:
    """Fill in what the settings leave open.

    With GPUs that is an actor for each. Without, it is an actor of one thread for every core, beside which
    loading and committing run, because a thread alone never waits for others; or, where the memory does not
    hold so many, fewer with more threads. In a cluster that grows, these machines say what an actor is given,
    and all that fit any machine leave tasks their share there.

    Args:
        settings: of the run.
        nodes: of the cluster.
        bytes_per_actor: memory of an actor, see `actor_bytes`.

    Raises:
        ConfigurationError: the actors asked for do not fit any machine, or leave no CPU for loading; or they
            are to be on GPUs, and there is none.
    """
    nodes = _with_room(nodes)
    if not nodes:
        raise ConfigurationError("the Ray cluster has no machine with CPUs; start one that has")
    has_gpus = any(node.gpus for node in nodes)
    gpus = settings.num_gpus_per_actor
    if settings.device == "cuda" and gpus != 0 and not has_gpus:
        raise no_such_device("cuda", "no machine of the Ray cluster has a GPU")
    if gpus is None:
        gpus = 1.0 if has_gpus and settings.device != "cpu" else 0.0
    if settings.grows and gpus:
        return _growing_on_gpus(settings, nodes, gpus)
    threads = _threads_for_memory(nodes, bytes_per_actor)
    if settings.grows:
        return _growing_on_cores(settings, nodes, settings.num_cpus_per_actor or float(threads))
    if gpus or settings.num_cpus_per_actor is not None:
        return _as_asked(settings, nodes, gpus)
    return _on_every_core(settings, nodes, threads)


def _with_room(nodes: Sequence[NodeResources]) -> list[NodeResources]:
    return [node for node in nodes if node.cpus > kept_for_tasks(node.cpus)]


def _as_asked(settings: RunSettings, nodes: Sequence[NodeResources], gpus: float) -> ClusterLayout:
    """Actors of GPUs, or of as many CPUs as the user says."""
    cpus = settings.num_cpus_per_actor or _cpus_beside_a_gpu(nodes)
    actors = _checked(settings.actors, sum(_actors_on(node, cpus, gpus) for node in nodes), cpus, gpus, nodes)
    processors = processors_of(nodes, on_gpus=gpus > 0)
    return ClusterLayout(actors, cpus, gpus, max(1, int(cpus)), processors)


def _on_every_core(settings: RunSettings, nodes: Sequence[NodeResources], threads: int) -> ClusterLayout:
    cpus = share_of_threads([node.cpus for node in nodes], threads)
    room = sum(min(actors_for(node.cpus, threads), int(node.cpus / cpus)) for node in nodes)
    return ClusterLayout(
        actors=_checked(settings.actors, room, cpus, 0.0, nodes),
        cpus_per_actor=cpus,
        gpus_per_actor=0.0,
        threads_per_actor=threads,
        processors=processors_of(nodes, on_gpus=False),
        load_cpus=SLIGHT_LOAD_CPUS,
        commit_cpus=SLIGHT_COMMIT_CPUS,
        loads_at_once=sum(loading_tasks(node.cpus) for node in nodes),
    )


def _growing_on_gpus(settings: RunSettings, nodes: Sequence[NodeResources], gpus: float) -> ClusterLayout:
    cpus = settings.num_cpus_per_actor or _CPUS_BESIDE_A_GPU
    for node in nodes:
        # However many GPUs a machine has, an actor will sit on each.
        if node.gpus >= gpus and node.cpus > LOAD_CPUS + COMMIT_CPUS:
            cpus = min(cpus, rounded_down((node.cpus - LOAD_CPUS - COMMIT_CPUS) / int(node.gpus / gpus)))
    _checked(1, sum(_actors_on(node, cpus, gpus) for node in nodes), cpus, gpus, nodes)
    least, most = _least_and_most(settings)
    return ClusterLayout(
        actors=most,
        cpus_per_actor=cpus,
        gpus_per_actor=gpus,
        threads_per_actor=max(1, int(cpus)),
        processors=processors_of(nodes, on_gpus=True),
        least_actors=least,
    )


def _growing_on_cores(settings: RunSettings, nodes: Sequence[NodeResources], asked: float) -> ClusterLayout:
    cpus = share_on_any_machine([node.cpus for node in nodes], asked)
    _checked(1, sum(int(node.cpus / cpus) for node in nodes), cpus, 0.0, nodes)
    least, most = _least_and_most(settings)
    return ClusterLayout(
        actors=most,
        cpus_per_actor=cpus,
        gpus_per_actor=0.0,
        threads_per_actor=max(1, int(asked)),
        processors=processors_of(nodes, on_gpus=False),
        load_cpus=SLIGHT_LOAD_CPUS,
        commit_cpus=SLIGHT_COMMIT_CPUS,
        # Those of the cluster when it has grown; before, the CPUs that actors leave hold few of them.
        loads_at_once=loading_tasks(most * asked),
        least_actors=least,
    )


def _least_and_most(settings: RunSettings) -> tuple[int, int]:
    least = settings.min_actors or 1
    return least, settings.max_actors or max(least, _MOST_ACTORS)


def _checked(asked: int | None, room: int, cpus: float, gpus: float, nodes: Sequence[NodeResources]) -> int:
    actors = asked or room
    if actors > room or room == 0:
        alike = Counter(f"{node.cpus:g} CPUs {node.gpus:g} GPUs" for node in nodes)
        kinds = [f"{count:,} of {kind}" for kind, count in alike.most_common(_KINDS_SHOWN)]
        machines = ", ".join([*kinds, *(["…"] if len(alike) > _KINDS_SHOWN else [])])
        raise ConfigurationError(
            f"{actors or 1} actors of {cpus:g} CPUs and {gpus:g} GPUs: the cluster has room for {room} "
            f"beside the loading tasks (machines: {machines}); "
            "lower --actors, --num-cpus-per-actor or --num-gpus-per-actor, add machines, or say --max-actors "
            "where they come while the run lasts"
        )
    return actors


def _threads_for_memory(nodes: Sequence[NodeResources], bytes_per_actor: float) -> int:
    """Cores of one actor, so that the memory of every machine holds its actors; as few as possible."""
    threads = 1
    for node in nodes:
        cores = max(1, int(node.cpus))
        held = min(node.memory_bytes / bytes_per_actor, cores) if bytes_per_actor else cores
        threads = max(threads, math.ceil(cores / max(1, int(held))))
    return threads


def _cpus_beside_a_gpu(nodes: Sequence[NodeResources]) -> float:
    """One CPU; of two, more, so that a lost machine's actor never takes the CPU for loading elsewhere."""
    with_gpus = [node.cpus for node in nodes if node.gpus and node.cpus > LOAD_CPUS + COMMIT_CPUS]
    smallest = min(with_gpus, default=math.inf)
    return 1.0 if smallest > 2 else smallest - LOAD_CPUS - COMMIT_CPUS


def _actors_on(node: NodeResources, cpus: float, gpus: float) -> int:
    by_cpu = max(0, int((node.cpus - LOAD_CPUS - COMMIT_CPUS + 1e-9) / cpus))
    return min(by_cpu, int(node.gpus / gpus)) if gpus else by_cpu
