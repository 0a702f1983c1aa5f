"""Whether DCM and HSM help: four networks that start as one trained plain network, and train on alike.

    python benchmarks/ablation.py --photographs coco_photos/train --work WORK --processes 2

`posrefine_tiny` without DCM and HSM is filled from trained weights and trained until it does without them. From
there the plain network, that with DCM, that with HSM and that with both train equally long, once for every seed.
Their new modules give nothing at first, so all four start with the same function; with one seed they see the same
views in the same order. Each is judged on the photographs that are kept apart and on rendered scenes.

A finished training is stored at once, an unfinished one goes on from its last checkpoint, and running again does
what is missing. The start lies beside the result, so that trainings may be spread over nights and machines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.exit_codes import ExitCode
from pipeline.settings.sources import settings_from
from pipeline.settings.training import TrainSettings
from pipeline.storage import Storage
from pipeline.training.job import TrainingJob
from pipeline.training.sources import TrainingData, open_data
from posrefine.build import VARIANTS, build_model
from posrefine.freed_memory import keep_freed_memory
from posrefine.modeling.complexity import measure_complexity
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.refine import RefineSpec
from posrefine.skeletons import COCO
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint
from posrefine.training.loop import Trainer
from posrefine.weights import load_weights, save_weights
from posrefine.weights.load import read_checkpoint

MODEL = "posrefine_tiny"
PLAIN = "plain"
NETWORKS: Mapping[str, RefineSpec] = {
    name: replace(VARIANTS[MODEL].network.refine, dcm=dcm, hsm=hsm)
    for name, dcm, hsm in (
        (PLAIN, False, False),
        ("+ DCM", True, False),
        ("+ HSM", False, True),
        ("+ DCM + HSM", True, True),
    )
}
START_SEED = 1000
"""Of the views that the start is trained on: none of the compared trainings has their order."""
CHECKPOINT_STEPS = 50
FORWARDS = 10

RECIPE: Mapping[str, Any] = {
    "model": MODEL,
    "protocol": "posrefine",
    "image_shares": "0.7",
    "synthetic": "6000",
    "synthetic_seed": 10_100_000,
    "synthetic_shares": "0.3",
    "val_share": 0.1,
    # All that are kept apart.
    "val_count": 1_000_000,
    "val_scenes": 200,
    "val_flip": True,
    "batch_size": 32,
    "input_sizes": "0:256",
    "person_probability": 0.85,
    "person_size_range": "45,280",
    "largest_cut_out": 1.2,
    "scale_range": "0.5,1.2",
    "max_rotation_deg": 20,
    "max_translation": 30,
    "colour": 1,
    "degrade": 0.25,
    "paste": 0.3,
    "offset_cells": 96,
    "learning_rate": 0.0015,
    "schedule": "cosine",
    "warmup_steps": 60,
    "weight_decay": 0.002,
    "gradient_clip_norm": 1,
    "ema_decay": 0.998,
    "offset_factor": 0.8,
    "offset_saturation": 0.02,
    "joint_sigma": 1.5,
    "centre_sigma": 2,
    "offset_radius": 3,
    "min_area": 256,
    "precision": "bfloat16",
}
"""What the bundled weights learnt photographs by, at the end of their training (their card has it), but with views
of one size."""


@dataclass(frozen=True)
class Plan:
    """What all trainings have in common.

    Attributes:
        photographs: folder with `images/` and `annotations.json`.
        weights: file or zoo name that the start is filled from.
        work: folder of the start, of checkpoints and of rendered scenes.
        first_steps: of the training that makes the start.
        steps: of every compared training.
        changes: settings in place of those of `RECIPE`.
    """

    photographs: Path
    weights: str
    work: Path
    first_steps: int
    steps: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, steps: int, seed: int) -> TrainSettings:
        """Those of one training."""
        values = {"scene_cache": self.work / "scenes", **RECIPE, **self.changes}
        values |= {
            "images": (str(self.photographs / "images"),),
            "annotations": (str(self.photographs / "annotations.json"),),
            "output": str(self.work),
            "views": steps * values["batch_size"],
            "seed": seed,
        }
        return settings_from(TrainSettings, values)

    def alike(self) -> dict[str, Any]:
        """What all trainings have in common beside their start, as JSON has it, wherever its files lie."""
        settings = self.settings(1, 0).model_dump(
            mode="json",
            exclude_defaults=True,
            exclude={"images", "annotations", "output", "scene_cache", "views", "seed"},
        )
        annotations = (self.photographs / "annotations.json").read_bytes()
        return {
            "first_steps": self.first_steps,
            "steps": self.steps,
            "annotations_sha256": hashlib.sha256(annotations).hexdigest(),
            **settings,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=Path, required=True, help="folder of images/, annotations.json")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is made on the way")
    parser.add_argument("--weights", default="posrefine:tiny_coco", help="of the start: file or zoo name")
    parser.add_argument("--first-steps", type=int, default=1000, help="of the plain network's first training")
    parser.add_argument("--steps", type=int, default=1000, help="of every compared training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, a core each")
    parser.add_argument("--scene-cache", type=Path, help="where rendered scenes are kept: WORK/scenes")
    parser.add_argument("--store", type=Path, default=RESULTS / "ablation.json")
    changeable: Mapping[str, Callable[[str], Any]] = {
        "learning_rate": float,
        "batch_size": int,
        "input_sizes": str,
        "synthetic": int,
        "val_scenes": int,
    }
    for name, kind in changeable.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{RECIPE[name]} by default")
    given = parser.parse_args()
    changes = {
        name: getattr(given, name)
        for name in (*changeable, "scene_cache")
        if getattr(given, name) is not None
    }
    plan = Plan(given.photographs, given.weights, given.work, given.first_steps, given.steps, changes)
    # `timeout` sends this signal: trainings then stop at a checkpoint, as they do at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = compared(plan, given.seeds, given.processes, given.store)
    except KeyboardInterrupt:
        say("stopped: run the same again to go on")
        sys.exit(ExitCode.INTERRUPTED)
    print("\n".join(table(result["rows"])))


def say(words: str) -> None:
    """Results are on the other stream."""
    print(words, file=sys.stderr, flush=True)


def compared(plan: Plan, seeds: int, processes: int, store: Path) -> dict[str, Any]:
    """The result with a row for every network and seed; what is stored already is not done again."""
    alike = plan.alike()
    result = stored(store, alike)
    done = {(row["network"], row["seed"]) for row in result["rows"]}
    missing = [(name, seed) for seed in range(seeds) for name in NETWORKS if (name, seed) not in done]
    if not missing:
        return result
    start = store.with_name(f"{store.stem}_start.safetensors")
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(processes, context, _begin_worker, (stop,)) as pool:
        try:
            if result["start"] is None:
                result["start"] = pool.submit(make_start, plan, start).result()
                _write(store, result)
            _check_start(result, start, store)
            checkpoints = plan.work / _digest({**alike, "start": result["start"]["sha256"]})
            rows = [pool.submit(trained, plan, start, *pair, checkpoints) for pair in missing]
            for row in as_completed(rows):
                result["rows"].append(row.result())
                result["rows"].sort(key=lambda row: (row["seed"], list(NETWORKS).index(row["network"])))
                _write(store, result)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return result


def stored(path: Path, alike: Mapping[str, Any]) -> dict[str, Any]:
    """What was stored of trainings with these settings; those with others do not compare."""
    if not path.exists():
        return {"machine": machine(), "alike": dict(alike), "start": None, "rows": []}
    result: dict[str, Any] = json.loads(path.read_text())
    found = result["alike"]
    changed = [f"{key} {found.get(key)} -> {alike.get(key)}" for key in {**found, **alike}
               if found.get(key) != alike.get(key)]  # fmt: skip
    if changed:
        raise SystemExit(
            f"{path} is of trainings with other settings ({'; '.join(changed)}): name another --store"
        )
    return result


def _check_start(result: Mapping[str, Any], start: Path, store: Path) -> None:
    found, wanted = _sha256(start), result["start"]["sha256"]
    if found != wanted:
        raise SystemExit(
            f"{start} is {found}, the trainings in {store} started from {wanted}: bring that file back, or name "
            "another --store"
        )


def _write(store: Path, result: Mapping[str, Any]) -> None:
    partial = store.with_name(f"{store.name}.partial")
    partial.write_text(json.dumps(result, indent=2) + "\n")
    partial.replace(store)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_stop: Event | None = None


def _begin_worker(stop: Event) -> None:
    """One core, no Ctrl-C of its own, and no life after the script's."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()


def _stopping() -> bool:
    return _stop is not None and _stop.is_set()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def make_start(plan: Plan, path: Path) -> dict[str, Any]:
    """Trains the plain network until it does without the modules it was once trained with; its figures.

    It is kept in `path` as float16, and what is trained on from it starts as that file has it.
    """
    weights_sha256 = read_checkpoint(plan.weights).sha256
    made = plan.work / f"start-{_digest({**plan.alike(), 'steps': 0, 'weights': weights_sha256})}.pt"
    model = build_model(MODEL, skeleton=COCO, refine=NETWORKS[PLAIN])
    info = load_weights(model, plan.weights, strict=False)
    others = [key for key in (*info.not_in_file, *info.not_used) if not key.startswith("refine.")]
    if others:
        raise SystemExit(f"{plan.weights}: no weights of {MODEL}: missing or left over are {others[:5]}")
    average, _ = learnt(job_of(plan, model, plan.first_steps, START_SEED), made)
    metadata = {"variant": MODEL, "skeleton": COCO.name, "protocol": plan.settings(1, 0).protocol}
    sha256 = save_weights(average, path, metadata, stored_as=torch.float16)
    job = job_of(plan, filled(PLAIN, path, 0), plan.steps, 0)
    return {
        "sha256": sha256,
        "weights": plan.weights,
        "weights_sha256": weights_sha256,
        "images": _data(plan.settings(1, 0)).contents,
        "metrics": _judged(job, job.model),
    }


def filled(name: str, start: Path, seed: int) -> PoseNetwork:
    """One of `NETWORKS` with the start's weights, and with modules drawn by `seed` whose gains are 0."""
    torch.manual_seed(seed)
    model = build_model(MODEL, skeleton=COCO, refine=NETWORKS[name])
    load_weights(model, start)
    return model


def trained(plan: Plan, start: Path, name: str, seed: int, checkpoints: Path) -> dict[str, Any]:
    """Trains one network on; its figures, size and cost."""
    job = job_of(plan, filled(name, start, seed), plan.steps, seed)
    size = measure_complexity(job.model.variant, COCO)
    checkpoint = checkpoints / f"{name.replace('+ ', '').replace(' ', '_')}-{seed}.pt"
    average, seconds = learnt(job, checkpoint)
    metrics = _judged(job, average)
    return {
        "network": name,
        "seed": seed,
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "training_cpu_s": round(seconds, 1),
        "forward_cpu_ms": round(1000 * _forward_s(average), 1),
        "metrics": metrics,
    }


def job_of(plan: Plan, model: PoseNetwork, steps: int, seed: int) -> TrainingJob:
    data, settings = _data(plan.settings(1, 0)), plan.settings(steps, seed)
    recipe = settings.recipe(len(data.source))
    return TrainingJob(
        settings, recipe, model, data.source, data.words, data.pasting, data.validation, Storage()
    )


@lru_cache(maxsize=1)
def _data(settings: TrainSettings) -> TrainingData:
    """Once for all trainings of a process: scenes to judge on are rendered here."""
    return open_data(settings, Storage())


def learnt(
    job: TrainingJob, checkpoint: Path, stopping: Callable[[], bool] = _stopping
) -> tuple[PoseNetwork, float]:
    """Trains the job's network from the checkpoint, if there is one; the average and the steps' CPU seconds.

    Raises:
        InterruptedError: it was stopped; the checkpoint holds all that was done.
    """
    trainer = Trainer(job.model, job.recipe, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    stream, seconds, total = job.stream(0, 1), 0.0, job.recipe.total_steps
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        trainer.restore(state)
        seconds = state["cpu_s"]
    while trainer.step < total and not stopping():
        # Preparing views is not the network's cost, and renders whatever scenes are not kept yet.
        batch = stream[trainer.step]
        begun_s = time.process_time()
        trainer.train_step(batch)
        seconds += time.process_time() - begun_s
        if trainer.step % CHECKPOINT_STEPS == 0:
            save_checkpoint(trainer.state() | {"cpu_s": seconds}, checkpoint)
            say(
                f"{checkpoint.stem}: {trainer.step:,} of {total:,} steps, {seconds / trainer.step:.2f} CPU s each"
            )
    save_checkpoint(trainer.state() | {"cpu_s": seconds}, checkpoint)
    if trainer.step < total:
        raise InterruptedError(f"{checkpoint}: stopped after {trainer.step} of {total} steps; run again")
    return trainer.average.model, seconds


def _judged(job: TrainingJob, model: PoseNetwork) -> dict[str, dict[str, float]]:
    """The numbers on the photographs kept apart, and on rendered scenes."""
    size_px = job.settings.validation_size(job.settings.input_size)
    return {
        name: replace(job, validation={name: held_out}).validated(model, size_px)
        for name, held_out in job.validation.items()
    }


def _forward_s(model: PoseNetwork) -> float:
    """CPU seconds of a forward pass of one image of the published size: the fastest, for others may compute too."""
    model = model.to("cpu").eval()
    images = torch.zeros(1, 3, *[VARIANTS[MODEL].input_size] * 2).contiguous(
        memory_format=torch.channels_last
    )
    seconds = []
    with torch.inference_mode():
        for _ in range(FORWARDS):
            start_s = time.process_time()
            model(images)
            seconds.append(time.process_time() - start_s)
    return min(seconds)


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Mean and standard deviation over seeds, and differences to plain with the same seed, as Markdown."""
    rows = list(rows)
    lines = [
        "| network | parameters M | multiply-adds G | training, CPU s | forward, CPU ms | seeds | AP, photographs "
        "| to plain | AP, scenes | to plain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    plain = {row["seed"]: row for row in rows if row["network"] == PLAIN}
    for name in NETWORKS:
        mine = {row["seed"]: row for row in rows if row["network"] == name}
        if not mine:
            continue
        first = next(iter(mine.values()))
        cells = [
            name,
            f"{first['parameters'] / 1e6:.2f}",
            f"{first['multiply_adds'] / 1e9:.2f}",
            f"{statistics.mean(row['training_cpu_s'] for row in mine.values()):.0f}",
            f"{statistics.mean(row['forward_cpu_ms'] for row in mine.values()):.0f}",
            str(len(mine)),
        ]
        for images in ("photographs", "scenes"):
            scores = {seed: row["metrics"][images]["AP"] for seed, row in mine.items()}
            differences = [
                score - plain[seed]["metrics"][images]["AP"]
                for seed, score in scores.items()
                if seed in plain
            ]
            cells += [_spread(list(scores.values())), "" if name == PLAIN else _spread(differences, "+")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation; nothing of no values."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{deviation}"


if __name__ == "__main__":
    main()
