"""The inference stage: an actor that hosts the network."""

from __future__ import annotations

import os
import time

import pyarrow as pa
import ray
import torch

from pipeline.model.annotator import DECODED_AT_ONCE_BYTES, UnitAnnotator
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from pipeline.stages.image_guard import ImageGuard
from pipeline.stages.last_words import leave_last_words
from pipeline.stages.quarantine import attempt
from pipeline.stages.tasks import StageContext
from posrefine.errors import PosRefineError
from posrefine.freed_memory import keep_freed_memory

__all__ = ["InferenceActor"]

_STAGE = "inference"


class InferenceActor:
    """Stage 2, an actor: find the poses in a unit's images."""

    def __init__(self, context: StageContext, threads: int) -> None:
        torch.set_num_threads(threads)
        # The process is this actor's alone, and its maps are the last unit's again.
        keep_freed_memory()
        self._ledger, self._image_timeout_s = context.ledger, context.settings.image_timeout_s
        ray.get(self._ledger.announce_actor.remote(ray.get_runtime_context().get_actor_id()))
        device = context.settings.device
        if device == "auto" and not ray.get_gpu_ids():
            # Those of this machine are not for this actor.
            device = "cpu"
        network, image_names = ray.get([context.network, context.image_names])
        try:
            self._annotate: UnitAnnotator | PosRefineError = UnitAnnotator(
                network, context.settings, device, image_names, context.reading
            )
        except PosRefineError as error:
            # Raised here, it would reach the driver as text alone; the first unit raises it as itself.
            self._annotate = error

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One unit."""
        started = time.perf_counter()
        if isinstance(self._annotate, PosRefineError):
            raise self._annotate
        unit = LoadedUnit.from_table(batch)
        with attempt(self._ledger, _STAGE, unit.unit_id) as opened:
            this, guard = opened.this, ImageGuard(opened, self._image_timeout_s)
            try:
                found = (
                    self._annotate.one_by_one(unit.images, this.leaves_out, opened.touch, guard)
                    if this.isolated
                    else self._annotate(unit.images, guard, this.less(DECODED_AT_ONCE_BYTES))
                )
            except torch.AcceleratorError as error:
                # A failed kernel leaves the process's device context unusable: die, so that Ray starts
                # another actor and the ledger counts the attempt.
                leave_last_words(repr(error))
                os._exit(1)
            return AnnotatedUnit.of(
                unit,
                found.results,
                attempts=this.number,
                infer_s=time.perf_counter() - started,
                predictor_s=found.predictor_s,
                busy_s=found.busy_s,
                prepared=self._annotate.preparation.form,
                prepare_s=self._annotate.preparation.seconds,
            ).to_table()
