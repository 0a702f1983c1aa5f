"""Train the small network on rendered scenes, on CPU cores that others use as well; run again to resume."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from pipeline.training_log import TrainingLog
from posrefine.build import build_model
from posrefine.skeletons import COCO
from posrefine.synthetic import EASY, HARD, MEDIUM, TRAIN, SceneSpec, coco_annotations, render_scenes
from posrefine.training.augmentation import Augmentation
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint
from posrefine.training.loop import Trainer
from posrefine.training.recipe import TrainRecipe
from posrefine.training.stream import ViewStream, stream_batches
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.training.targets import TargetSpec
from posrefine.training.validation import ValidationSet

FIRST_TRAINING_SEED = 10_000_000


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    recipe = TrainRecipe(
        total_steps=arguments.steps,
        batch_size=arguments.batch,
        learning_rate=arguments.lr,
        schedule="cosine",
        warmup_steps=min(200, arguments.steps // 10),
        weight_decay=arguments.weight_decay,
        gradient_clip_norm=1.0,
        ema_decay=0.995,
        offset_factor=0.1,
        precision=arguments.precision,
        input_sizes_px=tuple(
            (float(s.split(":")[0]), int(s.split(":")[1])) for s in arguments.sizes.split(",")
        ),
    )
    specs: tuple[SceneSpec, ...] = (TRAIN, EASY, MEDIUM, HARD)
    source = SyntheticSource(COCO, specs, arguments.scenes, FIRST_TRAINING_SEED, arguments.cache)
    targets = TargetSpec(
        joint_sigma_cells=1.5, centre_sigma_cells=2.0, offset_radius_cells=3, min_area_px2=16.0**2
    )
    plain = Augmentation(max_rotation_deg=0, scale_range=(1.0, 1.0), max_translation=0, flip_probability=0)
    augmentation = plain if arguments.plain else Augmentation(scale_range=(0.7, 1.4))
    stream = ViewStream(source, COCO, recipe, augmentation, targets)
    held_out = list(
        render_scenes(arguments.scenes, FIRST_TRAINING_SEED, specs)
        if arguments.plain
        else render_scenes(40, 9_000_000)
    )
    annotations = coco_annotations(held_out, COCO)
    validation = ValidationSet.of(
        {i: scene.image for i, scene in enumerate(held_out, start=1)}, annotations, COCO
    )
    trainer = Trainer(build_model("posrefine_tiny"), recipe, torch.device("cpu"))
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
        print(f"resumed at step {trainer.step}", flush=True)
    train(arguments, trainer, stream, validation, checkpoint)


def train(
    arguments: argparse.Namespace,
    trainer: Trainer,
    stream: ViewStream,
    validation: ValidationSet,
    checkpoint: Path,
) -> None:
    saved_s = validated_s = time.monotonic()
    window_s, window_images = time.monotonic(), 0
    with TrainingLog(arguments.out, trainer.step) as log:
        for batch in stream_batches(stream, trainer.step, arguments.workers):
            report = trainer.train_step(batch)
            window_images += len(batch.images)
            now_s = time.monotonic()
            last = trainer.step == trainer.recipe.total_steps
            if trainer.step % 20 == 0 or last:
                log.step(report, window_images / (now_s - window_s))
                print(
                    f"{trainer.step} loss {report.loss:.5f} heat {report.heatmap_loss:.5f} offset "
                    f"{report.offset_loss:.5f} grad {report.gradient_norm:.3f} "
                    f"{window_images / (now_s - window_s):.1f} images/s",
                    flush=True,
                )
                window_s, window_images = now_s, 0
            if now_s - saved_s > 120 or last:
                save_checkpoint(trainer.state(), checkpoint)
                saved_s = now_s
            if now_s - validated_s > arguments.validate_s or last:
                metrics = validation.metrics(trainer.average.model, arguments.validate_px).model_dump()
                log.validation(trainer.step, metrics)
                print(f"{trainer.step} AP {metrics['AP']:.3f} AP50 {metrics['AP50']:.3f}", flush=True)
                validated_s = time.monotonic()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--sizes", default="0:128,0.7:192,0.9:256")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--validate-s", type=float, default=600.0)
    parser.add_argument(
        "--plain", action="store_true", help="no augmentation, validate on the training scenes"
    )
    parser.add_argument("--validate-px", type=int, default=256)
    return parser.parse_args()


if __name__ == "__main__":
    main()
