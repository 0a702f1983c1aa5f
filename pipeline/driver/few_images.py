"""Few failed images once more without Ray, which takes longer to start than they take.

They go through what the stages do, by the same functions, in one process beside the driver. Whatever ends
that process (a crash, a decoder that calls `exit`, memory, time that is over, a person) ends it alone and
blames nobody: what is left goes to Ray's workers, whose ledger finds out whose fault it was, if anybody's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import ray
import torch

from pipeline.ground_truth.image_names import NamedImages
from pipeline.inputs.load import load_unit
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import Network
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from pipeline.stages.receipt import Receipt
from pipeline.stages.retried_units import failed_part, known_uris, read_unit
from pipeline.stages.tasks import StageContext, committed
from posrefine.errors import ImageStatus

__all__ = ["FewImages", "are_few"]

logger = logging.getLogger(__name__)

_FEW_UNITS = 8
_FEW_IMAGES = 64


def are_few(unit_ids: Sequence[str], context: StageContext) -> bool:
    """Whether the failed images of these units are not worth starting Ray for; where it runs, it is taken."""
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS") or len(unit_ids) > _FEW_UNITS:
        return False
    statuses = [read_unit(context.output, unit_id)[0]["status"].to_pylist() for unit_id in unit_ids]
    failed = [status for unit in statuses for status in unit if status != ImageStatus.OK]
    return len(failed) <= _FEW_IMAGES


@dataclass(frozen=True)
class FewImages:
    """What the process beside the driver is given.

    Attributes:
        context: of the stages; what in it belongs to Ray's workers is not used.
        network: the network with its weights.
        image_names: tells the image id of an image key.
    """

    context: StageContext
    network: Network
    image_names: NamedImages

    def receipts_of(self, unit_ids: Sequence[str]) -> Iterator[Receipt]:
        """Annotate and commit units; ends early, with a warning, where the process ended.

        Raises:
            PosRefineError: what is not one image's fault.
        """
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(self,)) as process:
                yield from process.map(_annotate, unit_ids)
        except BrokenProcessPool:
            logger.warning(
                "the process that tried failed images again has ended: by an image, or killed from outside, "
                "as where memory runs out; Ray's workers go on, and find out"
            )

    def annotate(self, unit_id: str) -> Receipt:
        """One unit, in this process."""
        context, started = self.context, time.perf_counter()
        storage, reading = context.output.storage, replace(context.reading, guard=self._within_its_time)
        old, _ = read_unit(context.output, unit_id)
        unit, known = failed_part(context.manifest.unit(unit_id), old, storage), known_uris(old)
        images = [image for image in load_unit(unit, storage, reading) if image.uri not in known]
        loaded = LoadedUnit(unit_id, 1, time.perf_counter() - started, images)
        started, annotate = time.perf_counter(), self._annotator
        found = annotate(images, self._within_its_time)
        rows = AnnotatedUnit.of(
            loaded,
            found.results,
            attempts=1,
            infer_s=time.perf_counter() - started,
            predictor_s=found.predictor_s,
            busy_s=found.busy_s,
            prepared=annotate.preparation.form,
            prepare_s=annotate.preparation.seconds,
        )
        return committed(rows, context)

    @cached_property
    def _annotator(self) -> UnitAnnotator:
        settings = self.context.settings
        return UnitAnnotator(self.network, settings, settings.device, self.image_names, self.context.reading)

    @contextmanager
    def _within_its_time(self, uri: str) -> Iterator[None]:
        """Around the decoding of the image at `uri`: a decoder that hangs cannot be stopped otherwise."""
        watch = threading.Timer(self.context.settings.image_timeout_s, os._exit, [1])
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


_given: list[FewImages] = []
"""To the process that works on them; empty in every other."""


def _begin(given: FewImages) -> None:
    _given.append(given)
    threading.Thread(target=_end_with_the_driver, daemon=True, name="driver").start()


def _end_with_the_driver() -> None:
    """A driver that is killed takes nobody with it, and what it began shall not go on without a lease."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _annotate(unit_id: str) -> Receipt:
    given = _given[0]
    # Whatever it hangs in, as native code may: Ray's workers have the same limit.
    watch = threading.Timer(given.context.settings.no_progress_timeout_s, os._exit, [1])
    watch.daemon = True
    watch.start()
    try:
        return given.annotate(unit_id)
    except (MemoryError, torch.AcceleratorError):
        # No fault of the images', and nothing that a worker of Ray's would raise: it would end, and another
        # one go on.
        os._exit(1)
    finally:
        watch.cancel()
