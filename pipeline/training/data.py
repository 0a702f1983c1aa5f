"""Batches of a training run through Ray Data: any free CPU of the cluster prepares views for any trainer.

Row s of a rank's data set is its share of step s, a pure function of the recipe, so a run goes on at any step
with the very batches it would have seen (see `posrefine.training.stream`).
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.ray_session import unwrapped_worker_errors
from posrefine.errors import InvariantBroken
from posrefine.training.samples import Batch, LabelledImage
from posrefine.training.stream import ViewStream
from posrefine.training.targets import make_batch

__all__ = ["PREPARE_CPUS", "decode_views", "encode_views", "rank_batches"]

STEPS_PER_BLOCK = 16
"""A task costs tens of milliseconds beside its work; 16 steps of large views still take seconds only."""
MAX_BLOCKS = 5_000
PREPARE_CPUS = 1.0
BATCHES_AHEAD = 4
LOOP_TURN_S = 0.1
"""Ray Data's loop turns as often as this at least, as it does where it waits for its tasks."""
PREPARE_NICENESS = 19
_batch_taken = threading.Event()


def rank_batches(stream: ViewStream, first_step: int) -> Iterator[Batch]:
    """The batches of the stream's rank from `first_step` to the recipe's end, in order.

    Images are read and augmented in Ray tasks. Targets, which are several times the size of the images, are
    made here, in a thread beside the training step.

    Raises:
        TrainingError: too many images in a row cannot be used.
        StorageError: images cannot be read.
    """
    steps = stream.recipe.total_steps - first_step
    if steps <= 0:
        return
    shared = ray.put(stream)

    def prepare(rows: Mapping[str, Any]) -> pa.Table:
        mine = _stream(shared)
        step = int(rows["item"][0])
        return pa.table(
            {"step": [step], "views": pa.array([encode_views(mine.views(step))], pa.large_binary())}
        )

    def collate(rows: Mapping[str, Any]) -> tuple[int, Batch]:
        return int(rows["step"][0]), make_batch(decode_views(rows["views"][0]), stream.targets)

    # Not `range`: where CPUs are few, Ray Data makes all its blocks, a task each, before the first view.
    blocks = min(MAX_BLOCKS, -(-steps // STEPS_PER_BLOCK))
    ordinals = ray.data.from_items(list(range(first_step, first_step + steps)), override_num_blocks=blocks)
    ordinals.context.execution_options.preserve_order = True
    ordinals.context.raise_original_map_exception = True
    ordinals.context.custom_execution_callback_classes = [_WaitForRoom]
    prepared = ordinals.map_batches(prepare, batch_size=1, num_cpus=PREPARE_CPUS)
    collated = prepared.iterator().iter_torch_batches(
        batch_size=1, prefetch_batches=BATCHES_AHEAD, collate_fn=collate
    )
    with unwrapped_worker_errors():
        for step, (arrived, batch) in enumerate(collated, start=first_step):
            if arrived != step:
                raise InvariantBroken(f"training data: step {arrived} came in place of step {step}")
            _batch_taken.set()
            yield batch


class _WaitForRoom:
    """Ray Data's callback that makes its loop wait until a batch was taken.

    The loop shares the training process. It waits for its tasks, but while enough blocks are ready it has
    none, and would turn without any wait until there is room for another. Ray makes the instance, and sends
    the class to its tasks, so the event is the module's.
    """

    def before_execution_starts(self, executor: object) -> None:
        """Nothing to do."""

    def on_execution_step(self, executor: object) -> None:
        """Called by the loop after each turn."""
        _batch_taken.wait(LOOP_TURN_S)
        _batch_taken.clear()

    def after_execution_succeeds(self, executor: object) -> None:
        """Nothing to do."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Nothing to do."""


@lru_cache(maxsize=1)
def _stream(shared: ray.ObjectRef) -> ViewStream:
    """Once per worker process: a stream holds the annotations of the whole data set."""
    # Views are prepared well ahead; where they share cores with training, training goes first.
    os.nice(PREPARE_NICENESS)
    stream: ViewStream = ray.get(shared)
    return stream


def encode_views(views: Sequence[LabelledImage]) -> bytes:
    """Views of one size as bytes; masks of persons stay behind."""
    file = io.BytesIO()
    np.savez(
        file,
        pixels=np.stack([view.pixels for view in views]),
        persons=np.array([len(view.keypoints) for view in views]),
        keypoints=np.concatenate([view.keypoints for view in views]),
        areas_px2=np.concatenate([view.areas_px2 for view in views]),
        diagonals_px=np.concatenate([view.diagonals_px for view in views]),
        ignored=np.packbits(np.stack([view.ignored for view in views]), axis=-1),
        known_joints=np.stack([_known_joints(view) for view in views]),
    )
    return file.getvalue()


def decode_views(data: bytes) -> list[LabelledImage]:
    """The views that `encode_views` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        pixels = arrays["pixels"]
        ignored = np.unpackbits(arrays["ignored"], axis=-1, count=pixels.shape[2]).astype(np.bool_)
        ends = np.cumsum(arrays["persons"])[:-1]
        parts = [np.split(arrays[name], ends) for name in ("keypoints", "areas_px2", "diagonals_px")]
        known = [None if joints.all() else joints for joints in arrays["known_joints"]]
    return [LabelledImage(*fields) for fields in zip(pixels, *parts, ignored, known, strict=True)]


def _known_joints(view: LabelledImage) -> NDArray[np.bool_]:
    joints = view.keypoints.shape[1]
    return np.ones(joints, np.bool_) if view.known_joints is None else view.known_joints
