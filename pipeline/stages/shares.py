"""The shares of a CPU by which Ray places actors and tasks, so that loading and committing find one, too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COMMIT_CPUS",
    "LOAD_CPUS",
    "SLIGHT_COMMIT_CPUS",
    "SLIGHT_LOAD_CPUS",
    "actors_for",
    "kept_for_tasks",
    "loading_tasks",
    "rounded_down",
    "share_of_threads",
    "share_on_any_machine",
]

# Numbers that nobody gives an actor, because Ray fuses stages that ask for the same. The slight ones are for
# tasks beside actors on every core, of which they take little.
LOAD_CPUS = 0.49
COMMIT_CPUS = 0.24
SLIGHT_LOAD_CPUS = 0.039
SLIGHT_COMMIT_CPUS = 0.029
# One loading task keeps the small network busy on so many cores.
_CORES_PER_LOADING_TASK = 8
# Ray counts in ten-thousandths of a CPU.
_RAYS_PARTS = 10_000
# CPUs of machines that may come, of which nothing is known: those that are for rent.
_USUAL_SIZES = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def actors_for(cpus: float, threads: int) -> int:
    """How many of so many threads a machine's cores are for; one at least."""
    return max(1, int(cpus) // threads)


def kept_for_tasks(cpus: float) -> float:
    """CPUs that no actor gets, of a machine with so many."""
    return SLIGHT_LOAD_CPUS * loading_tasks(cpus) + SLIGHT_COMMIT_CPUS


def loading_tasks(cpus: float) -> int:
    """Loading tasks that keep the actors on so many cores busy."""
    return math.ceil(cpus / _CORES_PER_LOADING_TASK)


def share_of_threads(machines: Sequence[float], threads: int) -> float:
    """CPUs by which Ray places actors of so many cores on every one of these machines, never one too many.

    Were a machine lost, its actors would start on the others: however many of them fit there, loading and
    committing must find a share, too. Where machines are too unlike for that, the smallest counts.

    Args:
        machines: the CPUs of each.
        threads: of an actor.
    """
    sizes = Counter(machines)
    best = {cpus: rounded_down((cpus - kept_for_tasks(cpus)) / actors_for(cpus, threads)) for cpus in sizes}
    # Machines unlike each other agree on a share within a hair of a core's, if they do on one there at all.
    fine = np.arange(math.ceil(0.7 * threads * _RAYS_PARTS), 1.5 * threads * _RAYS_PARTS) / _RAYS_PARTS
    coarse = np.arange(10, int(100 * max(sizes)) + 1) / 100
    shares = np.unique([*best.values(), *coarse, *fine])
    sound, in_use = _leave_room(shares, sizes), np.zeros(len(shares))
    for cpus, count in sizes.items():
        in_use += count * np.minimum(np.floor(cpus / shares), actors_for(cpus, threads))
    if not in_use[sound].any():
        return best[min(sizes)]
    shares, in_use = shares[sound], in_use[sound]
    return float(shares[in_use == in_use.max()].max())


def share_on_any_machine(machines: Sequence[float], cpus: float) -> float:
    """At most so many CPUs, by which Ray fills machines with actors and still leaves tasks their share.

    In a cluster that grows, more actors than fit wait for a place, and take each that they find. So this
    holds for these machines, and if possible also for those of usual sizes, which may come.

    Args:
        machines: the CPUs of each that is there.
        cpus: of an actor. Where not even slightly less of them leave all that is kept for tasks, as where
            small actors fill a large machine, one task of each kind must do.
    """
    shares = np.arange(math.ceil(0.9 * cpus * _RAYS_PARTS), int(cpus * _RAYS_PARTS) + 1) / _RAYS_PARTS
    there, one_each = {*machines}, SLIGHT_LOAD_CPUS + SLIGHT_COMMIT_CPUS
    for sizes, most in (({*machines, *_USUAL_SIZES}, math.inf), (there, math.inf), (there, one_each)):
        sound = _leave_room(shares, sizes, most)
        if sound.any():
            return float(shares[sound].max())
    return cpus


def _leave_room(
    shares: NDArray[np.float64], sizes: Iterable[float], most: float = math.inf
) -> NDArray[np.bool_]:
    """Of which shares as many as fit a machine leave there what is kept for tasks, or `most` of it."""
    sound = np.ones(len(shares), bool)
    for cpus in sizes:
        sound &= cpus - np.floor(cpus / shares) * shares >= min(kept_for_tasks(cpus), most) - 1e-9
    return sound


def rounded_down(cpus: float) -> float:
    """To a number that Ray can count."""
    return math.floor(cpus * _RAYS_PARTS) / _RAYS_PARTS
