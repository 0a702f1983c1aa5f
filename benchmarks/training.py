"""Seconds of a training step of the small network: offsets everywhere against offsets at some cells."""

from __future__ import annotations

import argparse

import torch
from machine import machine, store
from repetition import compare

from posrefine.build import build_model
from posrefine.skeletons import COCO
from posrefine.synthetic import TRAIN
from posrefine.training.augmentation import Augmentation
from posrefine.training.loop import Trainer
from posrefine.training.recipe import TrainRecipe
from posrefine.training.stream import ViewStream
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.training.targets import TargetSpec

VARIANTS = {"offsets everywhere": None, "offsets at 256 cells": 256}
VIEWS = Augmentation(person_probability=0.8)
TARGETS = TargetSpec(joint_sigma_cells=1.5, centre_sigma_cells=2.0, offset_radius_cells=3, min_area_px2=256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input-size", type=int, default=128, help="side of the views, px")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = SyntheticSource(COCO, (TRAIN,), 16, first_seed=0, cache=None)
    steps = {}
    for name, cells in VARIANTS.items():
        recipe = TrainRecipe(
            total_steps=1000, batch_size=arguments.batch_size, precision="bfloat16", offset_cells=cells,
            input_sizes_px=((0.0, arguments.input_size),),
        )  # fmt: skip
        batch = ViewStream(source, COCO, recipe, VIEWS, TARGETS)[0]
        trainer = Trainer(build_model("posrefine_tiny"), recipe, torch.device("cpu"))
        steps[name] = lambda trainer=trainer, batch=batch: trainer.train_step(batch)
    result = {"machine": machine(), **vars(arguments), "timings": compare(steps, arguments.turns)}
    store("training", result)


if __name__ == "__main__":
    main()
