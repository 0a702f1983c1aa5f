"""How fast scenes are rendered: scenes a second on one core, for every preset."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from posrefine.synthetic import EASY, HARD, MEDIUM, TRAIN, SceneSpec, render_scene

PRESETS = {"TRAIN": TRAIN, "EASY": EASY, "MEDIUM": MEDIUM, "HARD": HARD}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100, help="scenes of every preset")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "synthetic.json")
    arguments = parser.parse_args()
    render_scene(0, TRAIN)  # the template mesh and the noise bank are made once a process
    result = {
        "machine": machine(),
        "presets": {name: measure(spec, arguments.scenes) for name, spec in PRESETS.items()},
    }
    text = json.dumps(result, indent=2)
    print(text)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n")


def measure(spec: SceneSpec, count: int) -> dict[str, Any]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    people = sum(len(render_scene(seed, spec).persons) for seed in range(count))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {
        "size_px": [spec.width_px, spec.height_px],
        "people_per_scene": round(people / count, 2),
        "scenes_per_cpu_second": round(count / cpu_s, 1),
        "scenes_per_second": round(count / wall_s, 1),
    }


def machine() -> dict[str, Any]:
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }


if __name__ == "__main__":
    main()
