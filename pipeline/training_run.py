"""A training from its settings to its weights: Ray Train runs the processes, the driver publishes."""

from __future__ import annotations

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

from pipeline.labelled_images import Frames, LabelledImages
from pipeline.model_card import PublishedModel, publish_model
from pipeline.session import ray_session
from pipeline.storage import Storage
from pipeline.stored_weights import load_stored_weights
from pipeline.training_data import PREPARE_CPUS
from pipeline.training_settings import FIRST_VALIDATION_SEED, TrainSettings
from pipeline.training_worker import CHECKPOINT_NAME, TrainingJob, train_worker
from pipeline.uris import is_s3, normalise_uri
from posrefine.build import build_model
from posrefine.errors import ConfigurationError, PosRefineError, TrainingError
from posrefine.skeletons import SKELETONS
from posrefine.synthetic import EASY, HARD, MEDIUM, TRAIN
from posrefine.training.checkpoint import load_checkpoint
from posrefine.training.stream import Source
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.training.validation import ValidationSet

__all__ = ["train"]

TRAINING_SCENES = (TRAIN, EASY, MEDIUM, HARD)

RAY_TRAIN_FOLDER = "ray_train"
CHECKPOINTS_KEPT = 2


def train(settings: TrainSettings) -> PublishedModel:
    """Train, or go on from the last durable checkpoint, and publish weights and model card.

    Raises:
        ConfigurationError: settings, weights or data cannot be used, or the output is another training's.
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
    source = _source(settings, storage)
    recipe = settings.recipe(len(source))
    torch.manual_seed(settings.seed)
    model = build_model(settings.model, skeleton=SKELETONS[settings.skeleton])
    if settings.weights is not None:
        load_stored_weights(model, settings.weights, storage)
    validation = _validation(settings, storage)
    return TrainingJob(settings, recipe, model, source, validation, storage)


def _source(settings: TrainSettings, storage: Storage) -> Source:
    skeleton = SKELETONS[settings.skeleton]
    if settings.images is None or settings.annotations is None:
        count, first_seed = settings.synthetic or 0, settings.synthetic_seed
        return SyntheticSource(skeleton, TRAINING_SCENES, count, first_seed, settings.scene_cache)
    return LabelledImages.open(settings.images, settings.annotations, skeleton, storage, exif=settings.exif)


def _validation(settings: TrainSettings, storage: Storage) -> ValidationSet | None:
    skeleton = SKELETONS[settings.skeleton]
    if settings.val_images is not None and settings.val_annotations is not None:
        held_out = LabelledImages.open(
            settings.val_images, settings.val_annotations, skeleton, storage, exif=settings.exif,
            limit=settings.val_count, only_with_persons=False,
        )  # fmt: skip
        return ValidationSet.of(Frames(held_out), held_out.annotation_file(), skeleton)
    if settings.synthetic is None:
        return None
    return ValidationSet.rendered(settings.val_count, FIRST_VALIDATION_SEED, skeleton)


def _fit(job: TrainingJob) -> Checkpoint:
    """Run the training processes to the end; the last checkpoint."""
    settings = job.settings
    gpus = int(ray.cluster_resources().get("GPU", 0)) if settings.device != "cpu" else 0
    workers = settings.workers or max(1, gpus)
    _require_room(workers, settings.worker_cpus)
    path, file_system = _ray_storage(settings.output)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpus > 0 or settings.device == "cuda",
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
        result = _fit_beside(trainer)
    except TrainingFailedError as error:
        raise _own_error(error) from error
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
