"""Whether DCM and HSM help: four small networks with and without them, trained alike on rendered scenes.

Every network sees the same views in the same order for a seed, and is scored on the same held-out scenes. A
finished training is stored at once, and running again does those that are missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import machine

# This folder, which Python searches first, has a pipeline.py of its own.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.settings.sources import load_settings
from pipeline.settings.training import FIRST_VALIDATION_SEED, TrainSettings
from posrefine.build import VARIANTS, build_model
from posrefine.modeling.complexity import measure_complexity
from posrefine.modeling.refine import RefineSpec
from posrefine.skeletons import COCO
from posrefine.synthetic import SCENE_KINDS
from posrefine.training.loop import Trainer
from posrefine.training.stream import ViewStream
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.training.validation import ValidationSet

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "posrefine" / "weights" / "bundled" / "posrefine_tiny.yaml"
MODEL = "posrefine_tiny"
NETWORKS: Mapping[str, RefineSpec] = {
    name: replace(VARIANTS[MODEL].network.refine, dcm=dcm, hsm=hsm)
    for name, dcm, hsm in (
        ("plain", False, False),
        ("+ DCM", True, False),
        ("+ HSM", False, True),
        ("+ DCM + HSM", True, True),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="of every training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--input-size", type=int, default=96, help="side of the views, px")
    parser.add_argument("--scenes", type=int, default=20_000, help="rendered scenes to learn from")
    parser.add_argument("--held-out", type=int, default=200, help="rendered scenes to score on")
    parser.add_argument("--scene-cache", type=Path, help="folder where scenes are kept once rendered")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, a core each")
    parser.add_argument("--store", type=Path, default=ROOT / "benchmarks" / "results" / "ablation.json")
    arguments = parser.parse_args()
    alike = {name: getattr(arguments, name) for name in ("steps", "input_size", "scenes", "held_out")}
    result = _stored(arguments.store, alike)
    done = {(row["network"], row["seed"]) for row in result["rows"]}
    wanted = [(name, seed) for seed in range(arguments.seeds) for name in NETWORKS]
    missing = [pair for pair in wanted if pair not in done]
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        trainings = [pool.submit(trained, *pair, alike, arguments.scene_cache) for pair in missing]
        for training in as_completed(trainings):
            result["rows"].append(training.result())
            arguments.store.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(table(result["rows"])))


def _stored(path: Path, alike: Mapping[str, int]) -> dict[str, Any]:
    """What was stored of trainings with these numbers; those with others do not compare."""
    if path.exists():
        stored: dict[str, Any] = json.loads(path.read_text())
        if stored["alike"] == alike:
            return stored
        raise SystemExit(f"{path} is of {stored['alike']}, asked for is {alike}: name another --store")
    return {"machine": machine(), "alike": dict(alike), "rows": []}


def trained(name: str, seed: int, alike: Mapping[str, int], scene_cache: Path | None) -> dict[str, Any]:
    """Trains one network; its figures on the held-out scenes, size and cost."""
    torch.set_num_threads(1)
    settings = load_settings(TrainSettings, {"config": RECIPE, "output": "unused"})
    source = SyntheticSource(
        COCO, SCENE_KINDS["train"], alike["scenes"], settings.synthetic_seed, scene_cache
    )
    recipe = replace(
        settings.recipe(len(source)),
        total_steps=alike["steps"],
        warmup_steps=min(settings.warmup_steps, alike["steps"] // 10),
        input_sizes_px=((0.0, alike["input_size"]),),
        seed=seed,
    )
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(MODEL, skeleton=COCO, refine=NETWORKS[name])
    size = measure_complexity(model.variant, COCO)
    trainer = Trainer(model, recipe, device)
    stream = ViewStream(source, COCO, recipe, settings.augmentation(), settings.targets())
    seconds = 0.0
    for step in range(recipe.total_steps):
        # Preparing views is not the network's cost, and renders whatever scenes are not kept yet.
        batch = stream[step]
        start_s = time.process_time()
        trainer.train_step(batch)
        seconds += time.process_time() - start_s
    metrics = _held_out(alike["held_out"]).metrics(
        trainer.average.model, VARIANTS[MODEL].input_size, flip=True
    )
    return {
        "network": name,
        "seed": seed,
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "training_cpu_s": round(seconds, 1),
        "metrics": metrics.model_dump(),
    }


@lru_cache(maxsize=1)
def _held_out(count: int) -> ValidationSet:
    """Rendered once for all trainings of a process."""
    return ValidationSet.rendered(count, FIRST_VALIDATION_SEED, COCO)


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Mean and standard deviation over seeds, a network a line, as Markdown."""
    rows = list(rows)
    lines = [
        "| network | parameters M | multiply-adds G | training, CPU s | seeds | AP | AP50 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in NETWORKS:
        mine = [row for row in rows if row["network"] == name]
        if mine:
            lines.append(
                f"| {name} | {mine[0]['parameters'] / 1e6:.2f} | {mine[0]['multiply_adds'] / 1e9:.2f} | "
                f"{statistics.mean(row['training_cpu_s'] for row in mine):.0f} | {len(mine)} | "
                f"{_spread(mine, 'AP')} | {_spread(mine, 'AP50')} |"
            )
    return lines


def _spread(rows: list[Mapping[str, Any]], metric: str) -> str:
    values = [row["metrics"][metric] for row in rows]
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


if __name__ == "__main__":
    main()
