"""Timing variants against each other on a machine that others use, too.

Variants take turns, so that all of them meet the same disturbances, and the ratio to the first variant is taken
within each turn. CPU seconds count the work even where other processes take the cores; they include what threads
spend waiting for each other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def compare(variants: Mapping[str, Callable[[], object]], turns: int) -> dict[str, dict[str, Any]]:
    """Runs all variants in turn; the first is the baseline.

    Returns:
        For each variant median and best seconds of a call, median CPU seconds, and how many times as fast as the
        baseline it is (median over turns), by the clock and by CPU seconds.
    """
    for run in variants.values():  # once to warm up, on GPUs once more to record graphs
        timed(run)
        timed(run)
    turns_s = [{name: timed(run) for name, run in variants.items()} for _ in range(turns)]
    baseline = next(iter(variants))
    return {
        name: {
            "median_s": round(statistics.median(turn[name][0] for turn in turns_s), 4),
            "best_s": round(min(turn[name][0] for turn in turns_s), 4),
            "median_cpu_s": round(statistics.median(turn[name][1] for turn in turns_s), 4),
            "speedup": _ratio(turns_s, baseline, name, 0),
            "speedup_cpu": _ratio(turns_s, baseline, name, 1),
        }
        for name in variants
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and CPU seconds of one call, until the GPU is done where there is one."""
    _wait()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    _wait()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _ratio(turns_s: list[dict[str, tuple[float, float]]], baseline: str, name: str, clock: int) -> float:
    return round(statistics.median(turn[baseline][clock] / turn[name][clock] for turn in turns_s), 2)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
