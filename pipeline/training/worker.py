"""One training process of Ray Train: its share of every step; rank 0 also logs, validates and saves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ray.train
import torch
from ray.train.torch import get_device
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.storage.uris import join_uri
from pipeline.training.data import rank_batches
from pipeline.training.job import TrainingJob
from pipeline.training.log import TrainingLog, restore_log, store_log
from pipeline.training.progress import ProgressBoard, TrainingStanding
from posrefine.freed_memory import keep_freed_memory
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint
from posrefine.training.loop import StepReport, Trainer

__all__ = ["BEST_NAME", "CHECKPOINT_NAME", "LOG_FOLDER", "train_worker"]

CHECKPOINT_NAME = "checkpoint.pt"
LOG_FOLDER = "log"
BEST_NAME = "best.safetensors"
DECIDES = "AP"
"""The number of the validation by which averaged weights are the best so far."""


def train_worker(config: Mapping[str, Any]) -> None:
    """Train from the last durable checkpoint, or from the beginning, to the recipe's last step.

    Args:
        config: a `TrainingJob` under `job`, and under `board` the `ProgressBoard` that shows where it stands.

    Raises:
        TrainingError: the loss is not finite, there are no persons, or too many bad images.
        ConfigurationError: the last checkpoint was made with other settings.
    """
    job: TrainingJob = config["job"]
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(job.settings.worker_cpus)))
        # A step's activations are the last one's again; otherwise their pages fault at every step.
        keep_freed_memory()
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    trainer = Trainer(job.model, job.recipe, device, _data_parallel if world_size > 1 else _alone)
    best = _resume(trainer)
    stream = job.stream(rank, world_size)
    scribe = _Scribe(job, trainer, best, config["board"]) if rank == 0 else _Bystander()
    with scribe:
        for batch in rank_batches(stream, trainer.step):
            scribe.note(trainer.train_step(batch))
            if _is_due(trainer, job.settings.checkpoint_steps):
                scribe.save()


def _resume(trainer: Trainer) -> dict[str, Any] | None:
    """Go on from the last checkpoint, if there is one; the best weights before it, if any were validated."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state = load_checkpoint(Path(folder) / CHECKPOINT_NAME)
    trainer.restore(state)
    best: dict[str, Any] | None = state.get("best")
    return best


def _alone(model: nn.Module) -> nn.Module:
    return model


def _data_parallel(model: nn.Module) -> nn.Module:
    device = next(model.parameters()).device
    # Ranks keep statistics of their own: sending them at every step costs a tenth of it on CPUs.
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


def _is_due(trainer: Trainer, every_steps: int) -> bool:
    return trainer.step % every_steps == 0 or trainer.step == trainer.recipe.total_steps


class _Bystander:
    """Ranks other than 0 beside the training steps: they take part in every save."""

    def __enter__(self) -> _Bystander:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, report: StepReport) -> None:
        """Nothing to write down."""

    def save(self) -> None:
        """Take part in the report, which waits for every rank."""
        ray.train.report({})


class _Scribe(_Bystander):
    """Rank 0's log, validation and checkpoints."""

    def __init__(
        self, job: TrainingJob, trainer: Trainer, best: dict[str, Any] | None, board: ProgressBoard
    ) -> None:
        self._job, self._trainer, self._best, self._board = job, trainer, best, board
        self._log_uri = join_uri(job.settings.output, LOG_FOLDER)
        self._latest: dict[str, float] = {}
        self._since_s, self._since_step = time.monotonic(), trainer.step
        self._views_per_s = 0.0

    def __enter__(self) -> _Scribe:
        self._folder = tempfile.TemporaryDirectory(prefix="posrefine-training-")
        folder = Path(self._folder.name)
        restore_log(self._job.storage, self._log_uri, folder)
        self._log = TrainingLog(folder, self._trainer.step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        self._folder.cleanup()

    def note(self, report: StepReport) -> None:
        """Write a row where one is due, and validate where that is due."""
        settings, trainer = self._job.settings, self._trainer
        if _is_due(trainer, settings.log_steps):
            now_s = time.monotonic()
            images = (trainer.step - self._since_step) * trainer.recipe.batch_size
            self._views_per_s = images / (now_s - self._since_s)
            self._log.step(report, self._views_per_s)
            self._since_s, self._since_step = now_s, trainer.step
            self._latest |= {"loss": report.loss}
            self._show()
        if self._job.validation and _is_due(trainer, settings.validation_steps):
            size_px = settings.validation_size(trainer.recipe.input_size_at(trainer.step - 1))
            metrics = self._job.validated(trainer.average.model, size_px)
            self._log.validation(trainer.step, metrics)
            self._latest |= metrics
            self._keep_if_best(metrics)
            self._show()
            self._since_s = time.monotonic()

    def _show(self) -> None:
        """Put the last row of the log and the last AP where the driver sees them."""
        if "loss" in self._latest:
            recipe = self._trainer.recipe
            self._board.put(
                TrainingStanding(
                    step=self._trainer.step,
                    total_steps=recipe.total_steps,
                    batch_size=recipe.batch_size,
                    views_per_s=self._views_per_s,
                    loss=self._latest["loss"],
                    ap=self._latest.get(DECIDES),
                )
            )

    def _keep_if_best(self, metrics: Mapping[str, float]) -> None:
        """Put the averaged weights beside the checkpoints as soon as they are better than all before."""
        average, step = self._trainer.average.model, self._trainer.step
        # A set without persons has no AP; it says nothing against the weights before.
        if self._best is not None and not metrics[DECIDES] > self._best[DECIDES]:
            return
        weights = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        self._best = {"step": step, DECIDES: metrics[DECIDES], "average": weights}
        self._job.write_weights(average, step, BEST_NAME)

    def save(self) -> None:
        """Make checkpoint and log durable."""
        self._log.flush()
        store_log(self._job.storage, self._log_uri, Path(self._folder.name))
        with tempfile.TemporaryDirectory(prefix="posrefine-checkpoint-") as folder:
            save_checkpoint(self._trainer.state() | {"best": self._best}, Path(folder) / CHECKPOINT_NAME)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"step": self._trainer.step, **self._latest}, checkpoint)
