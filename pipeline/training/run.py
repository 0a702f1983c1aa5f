"""A training from its settings to its weights: Ray Train runs the processes, the driver publishes."""

from __future__ import annotations

import logging
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pyarrow.fs as pa_fs
import ray
import s3fs
import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer

from pipeline.live_line import live_line
from pipeline.model.stored_weights import load_stored_weights
from pipeline.ray_session import ray_session, unwrapped_worker_errors
from pipeline.settings.training import TrainSettings
from pipeline.storage import Storage
from pipeline.storage.uris import is_s3, normalise_uri
from pipeline.training.data import PREPARE_CPUS
from pipeline.training.job import TrainingJob
from pipeline.training.model_card import PublishedModel, publish_model
from pipeline.training.progress import ProgressBoard
from pipeline.training.record import begin_or_resume, require_same_settings
from pipeline.training.sources import open_data
from pipeline.training.worker import CHECKPOINT_NAME, train_worker
from posrefine.build import build_model
from posrefine.errors import ConfigurationError, PosRefineError, TrainingError
from posrefine.inference.fast.device import available_device, no_such_device
from posrefine.skeletons import SKELETONS
from posrefine.training.checkpoint import load_checkpoint

__all__ = ["train"]

logger = logging.getLogger(__name__)

RAY_TRAIN_FOLDER = "ray_train"
CHECKPOINTS_KEPT = 2


def train(settings: TrainSettings) -> PublishedModel:
    """Train, or go on from the last durable checkpoint, and publish weights and model card.

    Raises:
        ConfigurationError: settings, weights or data cannot be used.
        FingerprintMismatch: the output belongs to a training with other settings or other data.
        TrainingError: training cannot go on: the loss is not finite, there are no persons, too many bad
            images, or a process died more often than `max_failures`.
        StorageError: the store could not be reached or refused, after all retries.
    """
    storage = Storage()
    job = _prepare(settings, storage)
    with ray_session():
        checkpoint = _fit(job)
    with checkpoint.as_directory() as folder:
        state = load_checkpoint(Path(folder) / CHECKPOINT_NAME)
    return publish_model(job, state, storage)


def _prepare(settings: TrainSettings, storage: Storage) -> TrainingJob:
    require_same_settings(settings, storage)
    data = open_data(settings, storage)
    recipe = settings.recipe(len(data.source))
    torch.manual_seed(settings.seed)
    model = build_model(settings.model, skeleton=SKELETONS[settings.skeleton])
    start = None if settings.weights is None else load_stored_weights(model, settings.weights, storage)
    contents = {**data.contents, "weights_sha256": None if start is None else start.sha256}
    begin_or_resume(settings, contents, storage)
    return TrainingJob(
        settings, recipe, model, data.source, data.words, data.pasting, data.validation, storage, start
    )


def _fit(job: TrainingJob) -> Checkpoint:
    """Run the training processes to the end; the last checkpoint."""
    settings = job.settings
    gpus = _gpus(settings.device, settings.workers or 1)
    workers = settings.workers or max(1, gpus)
    _require_room(workers, settings.worker_cpus)
    processes = "1 training process" if workers == 1 else f"{workers} training processes"
    logger.info(
        "%s: %s steps of %d views, %s, from %s",
        *(settings.output, f"{job.recipe.total_steps:,}", job.recipe.batch_size, processes, job.data),
    )
    board = ProgressBoard()
    path, file_system = _ray_storage(settings.output)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "board": board},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": settings.worker_cpus},
        ),
        run_config=RunConfig(
            name=RAY_TRAIN_FOLDER,
            storage_path=path,
            storage_filesystem=file_system,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
        ),
    )
    try:
        with live_line(board.line, sys.stderr):
            result = _fit_beside(trainer)
    except TrainingFailedError as error:
        raise _own_error(error) from error
    logger.info("%s", board.line())
    if result.checkpoint is None:
        raise TrainingError(f"{settings.output}: training ended without a checkpoint; run again")
    return result.checkpoint


def _fit_beside(trainer: TorchTrainer) -> Result:
    """`trainer.fit()` in a thread of its own: on the main one Ray Train has Ctrl-C end it unheard."""
    result: Future[Result] = Future()

    def fit() -> None:
        try:
            result.set_result(trainer.fit())
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, whatever it is
            result.set_exception(error)

    threading.Thread(target=fit, name="ray-train", daemon=True).start()
    return result.result()


def _gpus(device: str, workers: int) -> int:
    """GPUs of the cluster to train on; `ConfigurationError` where more are wanted than there are."""
    gpus = int(ray.cluster_resources().get("GPU", 0)) if device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise no_such_device("cuda", "no machine of the Ray cluster has a GPU")
    if not gpus:
        return 0
    if workers > gpus:
        raise ConfigurationError(
            f"{workers} training processes of a GPU each: the cluster has {gpus}; lower --workers, or choose "
            "--device cpu"
        )
    # Where Torch cannot use what Ray counts, Ray Train would end with an error of its own about NCCL.
    with unwrapped_worker_errors():
        found = ray.get(ray.remote(num_cpus=0, num_gpus=1)(available_device).remote(device))
    return gpus if found.type == "cuda" else 0


def _require_room(workers: int, cpus_per_worker: float) -> None:
    """The training processes hold their CPUs to the end, and views are prepared on the others."""
    cpus = ray.cluster_resources().get("CPU", 0.0)
    if workers * cpus_per_worker + PREPARE_CPUS > cpus:
        raise ConfigurationError(
            f"{workers} training processes of {cpus_per_worker:g} CPUs: the cluster has {cpus:g} CPUs, and "
            f"{PREPARE_CPUS:g} at least must be left for preparing views: lower --worker-cpus or --workers"
        )


def _ray_storage(output: str) -> tuple[str, pa_fs.FileSystem | None]:
    """Where Ray Train keeps its checkpoints, through the client that knows the same environment as ours."""
    output = normalise_uri(output)
    if not is_s3(output):
        return output, None
    return output.removeprefix("s3://"), pa_fs.PyFileSystem(pa_fs.FSSpecHandler(s3fs.S3FileSystem()))


def _own_error(error: TrainingFailedError) -> PosRefineError:
    """The project's error that a process ended with, or one that says how it died."""
    failures = list(getattr(error, "worker_failures", {}).values())
    for failure in failures:
        for candidate in (failure, failure.__cause__, *failure.args):
            if isinstance(candidate, PosRefineError):
                return candidate
    return TrainingError(f"a training process failed ({error}): run again to go on from the last checkpoint")
