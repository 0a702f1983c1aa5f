"""One training process of Ray Train: its share of every step; rank 0 also logs, validates and saves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ray.train
import torch
from ray.train.torch import get_device
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.storage import Storage
from pipeline.training_data import rank_batches
from pipeline.training_log import TrainingLog, restore_log, store_log
from pipeline.training_settings import TrainSettings
from pipeline.uris import join_uri
from posrefine.inference.protocol import PROTOCOLS
from posrefine.modeling.network import PoseNetwork
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint
from posrefine.training.loop import StepReport, Trainer
from posrefine.training.recipe import TrainRecipe
from posrefine.training.stream import Source, ViewStream
from posrefine.training.validation import ValidationSet

__all__ = ["CHECKPOINT_NAME", "LOG_FOLDER", "TrainingJob", "train_worker"]

CHECKPOINT_NAME = "checkpoint.pt"
LOG_FOLDER = "log"


@dataclass(frozen=True)
class TrainingJob:
    """Everything a training process is given.

    Attributes:
        settings: of the run.
        recipe: the same for every process, also after a restart.
        model: the network with its first weights, on the CPU.
        source: images to learn from.
        validation: images to validate on, if any.
        storage: for the log.
    """

    settings: TrainSettings
    recipe: TrainRecipe
    model: PoseNetwork
    source: Source
    validation: ValidationSet | None
    storage: Storage

    def validated(self, model: PoseNetwork, size_px: int) -> dict[str, float]:
        """The numbers of `model` on the held-out images by the settings' protocol; none without images."""
        if self.validation is None:
            return {}
        protocol = PROTOCOLS[self.settings.protocol]
        return self.validation.metrics(model, size_px, protocol=protocol).model_dump()


def train_worker(config: Mapping[str, Any]) -> None:
    """Train from the last durable checkpoint, or from the beginning, to the recipe's last step.

    Args:
        config: a `TrainingJob` under `job`.

    Raises:
        TrainingError: the loss is not finite, there are no persons, or too many bad images.
        ConfigurationError: the last checkpoint was made with other settings.
    """
    job: TrainingJob = config["job"]
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(job.settings.worker_cpus)))
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    trainer = Trainer(job.model, job.recipe, device, _data_parallel if world_size > 1 else _alone)
    _resume(trainer)
    augmentation, targets = job.settings.augmentation(), job.settings.targets()
    skeleton = job.model.skeleton
    stream = ViewStream(job.source, skeleton, job.recipe, augmentation, targets, rank, world_size)
    scribe = _Scribe(job, trainer) if rank == 0 else _Bystander()
    with scribe:
        for batch in rank_batches(stream, trainer.step):
            scribe.note(trainer.train_step(batch))
            if _is_due(trainer, job.settings.checkpoint_steps):
                scribe.save()


def _resume(trainer: Trainer) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            trainer.restore(load_checkpoint(Path(folder) / CHECKPOINT_NAME))


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
    """What ranks other than 0 do beside training: meet rank 0 where it saves."""

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

    def __init__(self, job: TrainingJob, trainer: Trainer) -> None:
        self._job, self._trainer = job, trainer
        self._log_uri = join_uri(job.settings.output, LOG_FOLDER)
        self._latest: dict[str, float] = {}
        self._since_s, self._since_step = time.monotonic(), trainer.step

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
            self._log.step(report, images / (now_s - self._since_s))
            self._since_s, self._since_step = now_s, trainer.step
            self._latest |= {"loss": report.loss}
        if self._job.validation is not None and _is_due(trainer, settings.validation_steps):
            size_px = settings.validation_size(trainer.recipe.input_size_at(trainer.step - 1))
            metrics = self._job.validated(trainer.average.model, size_px)
            self._log.validation(trainer.step, metrics)
            self._latest |= metrics
            self._since_s = time.monotonic()

    def save(self) -> None:
        """Make checkpoint and log durable."""
        self._log.flush()
        store_log(self._job.storage, self._log_uri, Path(self._folder.name))
        with tempfile.TemporaryDirectory(prefix="posrefine-checkpoint-") as folder:
            save_checkpoint(self._trainer.state(), Path(folder) / CHECKPOINT_NAME)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"step": self._trainer.step, **self._latest}, checkpoint)
