"""What PosRefine's context modules add to DEKR's forward pass, the two taking turns in one run."""

from __future__ import annotations

import argparse

import torch
from forwards import forward_pass
from machine import machine, store
from repetition import compare

from posrefine.build import VARIANTS, build_model
from posrefine.inference.fast.prepare import PreparedNetwork, bfloat16_is_fast

WIDTHS = ("w32", "w48")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--turns", type=int, default=7, help="how often the networks take turns")
    parser.add_argument("--width", choices=WIDTHS, default="w32")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    dtypes = [torch.float32, *([torch.bfloat16] if bfloat16_is_fast(device) else [])]
    cases = {
        str(dtype).removeprefix("torch."): measure(
            arguments.width, device, dtype, arguments.batch, arguments.turns
        )
        for dtype in dtypes
    }
    result = {"machine": machine(), **vars(arguments), "cases": cases}
    store(f"context_cost_{arguments.width}_{arguments.device}_{arguments.threads}_threads", result)


def measure(
    width: str, device: torch.device, dtype: torch.dtype, batch: int, turns: int
) -> dict[str, object]:
    dekr, refined = f"dekr_{width}", f"posrefine_{width}"
    size = VARIANTS[dekr].input_size
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    networks = {name: PreparedNetwork(build_model(name), device, dtype) for name in (dekr, refined)}
    timings = compare({name: forward_pass(run, images) for name, run in networks.items()}, turns)
    added = {
        key: round(timings[refined][key] / timings[dekr][key] - 1, 4)
        for key in ("median_s", "best_s", "median_cpu_s")
    }
    return {"input_size": size, "added": added, "timings": timings}


if __name__ == "__main__":
    main()
