"""Forward passes of the prepared network against the plain PyTorch module, and where their time goes."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from forwards import forward_pass
from machine import machine, store
from repetition import compare
from torch.profiler import ProfilerActivity, profile

from posrefine.build import VARIANTS, build_model
from posrefine.inference.fast.prepare import PreparedNetwork

CASES = {
    "cpu": [
        ("dekr_w32", 512, 1),
        ("posrefine_w32", 512, 1),
        *(("posrefine_tiny", 256, batch) for batch in (1, 4, 16)),
    ],
    "cuda": [("dekr_w32", 512, 32), ("dekr_w48", 640, 16), ("posrefine_w32", 512, 32)],
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OPERATORS_SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=tuple(CASES), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--turns", type=int, default=7, help="how often the variants take turns")
    parser.add_argument("--model", choices=tuple(VARIANTS), help="this one only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = [case for case in CASES[arguments.device] if arguments.model in (None, case[0])]
    result = {"machine": machine(), "device": arguments.device, "threads": arguments.threads}
    result["cases"] = [measure(*case, torch.device(arguments.device), arguments.turns) for case in cases]
    store(f"network_{arguments.device}_{arguments.threads}_threads", result)


def measure(name: str, input_size: int, batch: int, device: torch.device, turns: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build_model(name).eval().to(device)
    images = torch.randint(0, 256, (batch, 3, input_size, input_size), dtype=torch.uint8, device=device)
    prepared = {key: PreparedNetwork(model, device, dtype) for key, dtype in DTYPES.items()}

    def eager(autocast: bool) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            model(model.normalise(images))

    variants = {
        "eager float32": lambda: eager(False),
        "eager bfloat16 (autocast)": lambda: eager(True),
        **{f"prepared {key}": forward_pass(run, images) for key, run in prepared.items()},
    }
    timings = compare(variants, turns)
    return {
        "model": name,
        "input_size": input_size,
        "batch": batch,
        "images_per_s": {key: round(batch / timing["median_s"], 2) for key, timing in timings.items()},
        "timings": timings,
        "preparation": {key: str(run.preparation) for key, run in prepared.items()},
        "profile": {key: shares(variants[key]) for key in ("eager float32", "prepared bfloat16")},
    }


def shares(run: Any) -> dict[str, float]:
    """The share of each operator in the time of one call, the largest first."""
    with profile(activities=[ProfilerActivity.CPU, *_gpu_activities()]) as recorded:
        run()
    events = recorded.key_averages()
    on_gpu = torch.cuda.is_available()
    times = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events}
    largest = sorted(times, key=lambda key: -times[key])[:OPERATORS_SHOWN]
    return {key: round(times[key] / sum(times.values()), 3) for key in largest}


def _gpu_activities() -> list[ProfilerActivity]:
    return [ProfilerActivity.CUDA] if torch.cuda.is_available() else []


if __name__ == "__main__":
    main()
