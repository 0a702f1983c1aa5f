"""From decoded photographs to poses: the predictor against one forward pass of its own network.

With the mirrored view the network runs twice; all that is above two is warping, decoding and pose NMS.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from forwards import forward_pass
from machine import machine, store
from repetition import compare

from posrefine.build import build_model
from posrefine.inference.fast.device import Precision, choose_dtype
from posrefine.inference.fast.prepare import PreparedNetwork
from posrefine.inference.predictor import Predictor
from posrefine.synthetic import MEDIUM, render_scene

CASES = (("dekr_w32", 512), ("posrefine_tiny", 256))
ONE_SCALE, THREE_SCALES = (1.0,), (0.5, 1.0, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=tuple(Precision), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--turns", type=int, default=5, help="how often the variants take turns")
    parser.add_argument("--images", type=int, default=1, help="images of a call")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {"machine": machine(), "device": arguments.device, "threads": arguments.threads}
    result["cases"] = [measure(name, size, arguments) for name, size in CASES]
    store(f"predictor_{arguments.device}_{arguments.threads}_threads", result)


def measure(name: str, input_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build_model(name)
    images = [np.asarray(render_scene(seed, MEDIUM).image) for seed in range(arguments.images)]
    device = torch.device(arguments.device)
    predictors = {
        scales: Predictor(model, input_size, scales, device=arguments.device, precision=arguments.precision)
        for scales in (ONE_SCALE, THREE_SCALES)
    }
    network = PreparedNetwork(model, device, choose_dtype(Precision(arguments.precision), device))
    height, width = predictors[ONE_SCALE].plan(images[0].shape[:2]).input_hw[0]
    pixels = torch.randint(0, 256, (len(images), 3, height, width), dtype=torch.uint8, device=device)
    timings = compare(
        {
            "one forward pass": forward_pass(network, pixels),
            "predictor, mirrored": lambda: predictors[ONE_SCALE](images),
            "predictor, mirrored, three scales": lambda: predictors[THREE_SCALES](images),
        },
        arguments.turns,
    )
    return {
        "model": name,
        "image_hw": list(images[0].shape[:2]),
        "input_hw": [height, width],
        "images": len(images),
        "precision": str(network.preparation.dtype),
        "forward_passes": {key: round(1 / timing["speedup"], 2) for key, timing in timings.items()},
        "images_per_s": {key: round(len(images) / t["median_s"], 2) for key, t in timings.items()},
        "timings": timings,
    }


if __name__ == "__main__":
    main()
