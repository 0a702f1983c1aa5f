"""A handful of images without Ray, which takes longer to start than they take.

They go through what the stages do, by the same functions, in one process beside the driver. Whatever ends
that process (a crash, a decoder that calls `exit`, memory, time that is over, a person) ends it alone and
blames nobody: what is left goes to Ray's workers, whose ledger finds out whose fault it was, if anybody's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection

import torch

from pipeline.ground_truth.image_names import NamedImages
from pipeline.inputs.load import load_unit
from pipeline.inputs.units import Unit
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import Network
from pipeline.ray_session import ray_is_there
from pipeline.settings.run import RunSettings
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from pipeline.stages.receipt import Receipt
from pipeline.stages.retried_units import read_unit
from pipeline.stages.tasks import StageContext, committed, unit_to_do
from posrefine.errors import ImageStatus, PosRefineError
from posrefine.inference.fast.device import available_device

__all__ = ["FewImages", "are_few", "is_ray_wanted", "processors_here"]

logger = logging.getLogger(__name__)

_FEW_UNITS = 8
_FEW_IMAGES = 64


def is_ray_wanted(settings: RunSettings) -> bool:
    """Whether Ray is there already, or the settings ask for what only it gives."""
    asked = (settings.actors, settings.num_cpus_per_actor, settings.num_gpus_per_actor)
    return settings.grows or any(number is not None for number in asked) or ray_is_there()


def are_few(units: Iterable[Unit]) -> bool:
    """Whether these units are not worth starting Ray for, as far as listing told; only so many are taken."""
    images = 0
    for number, unit in enumerate(units, start=1):
        if unit.image_count is None or number > _FEW_UNITS:
            return False
        images += unit.image_count
        if images > _FEW_IMAGES:
            return False
    return True


def processors_here(device: str) -> float:
    """What the speed without Ray is held against: the GPU that is used, or else the cores of this process."""
    return 1.0 if available_device(device).type == "cuda" else float(len(os.sched_getaffinity(0)))


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

    def worth_no_ray(self, unit_ids: Sequence[str]) -> bool:
        """Whether what is to be done in these units is not worth starting Ray for."""
        context = self.context
        if len(unit_ids) > _FEW_UNITS or is_ray_wanted(context.settings):
            return False
        if not context.again:
            return are_few(map(context.manifest.unit, unit_ids))
        statuses = [read_unit(context.output, unit_id)[0]["status"].to_pylist() for unit_id in unit_ids]
        failed = [status for unit in statuses for status in unit if status != ImageStatus.OK]
        return len(failed) <= _FEW_IMAGES

    def receipts_of(self, unit_ids: Sequence[str]) -> Generator[Receipt]:
        """Annotate and commit units; ends early, with a warning, where the process ended.

        Where whoever takes the receipts breaks off, the process ends at once.

        Raises:
            PosRefineError: what is not one image's fault.
        """
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_annotate_all, args=(self, unit_ids, theirs))
        process.start()
        theirs.close()
        try:
            for _ in unit_ids:
                while isinstance(said := ours.recv(), logging.LogRecord):
                    logging.getLogger(said.name).handle(said)
                if isinstance(said, Exception):
                    raise said
                yield said
        except EOFError:
            logger.warning(
                "the process beside this one that annotated images has ended: by an image, or killed from "
                "outside, as where memory runs out; Ray's workers go on, and find out"
            )
        finally:
            # Nothing of what it may still be at will be missed: a unit is there as a whole, or not at all.
            process.kill()
            process.join()
            ours.close()

    def annotate(self, unit_id: str) -> Receipt:
        """One unit, in this process."""
        context, started = self.context, time.perf_counter()
        storage, reading = context.output.storage, replace(context.reading, guard=self._within_its_time)
        unit, known = unit_to_do(unit_id, context)
        skipped: Counter[str] = Counter()
        images = [image for image in load_unit(unit, storage, reading, skipped) if image.uri not in known]
        loaded = LoadedUnit(unit_id, 1, time.perf_counter() - started, images, skipped)
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


class _ToDriver:
    """What the process says: receipts, an error, log records. Any thread may."""

    def __init__(self, driver: Connection) -> None:
        self._driver, self._lock = driver, threading.Lock()

    def put_nowait(self, said: object) -> None:
        with self._lock:
            self._driver.send(said)


def _annotate_all(few: FewImages, unit_ids: Sequence[str], driver: Connection) -> None:
    """The process beside the driver: a receipt for each unit, or the error that ends it."""
    say = _ToDriver(driver)
    logging.getLogger().addHandler(QueueHandler(say))  # type: ignore[arg-type]
    # The driver ends this process, which a terminal would end with all its words.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(driver,), daemon=True, name="driver").start()
    for unit_id in unit_ids:
        try:
            say.put_nowait(_annotate(few, unit_id))
        except Exception as error:  # noqa: BLE001 - the driver raises it
            if not isinstance(error, PosRefineError):
                error.add_note(traceback.format_exc())
            say.put_nowait(error)
            return


def _end_with(driver: Connection) -> None:
    """Ends this process as soon as the driver has ended, however that was.

    The driver says nothing, so what comes is the end. What was begun shall not go on without a lease.
    """
    with suppress(EOFError, OSError):
        driver.recv_bytes()
    os._exit(1)


def _annotate(few: FewImages, unit_id: str) -> Receipt:
    # Whatever it hangs in, as native code may: Ray's workers have the same limit.
    watch = threading.Timer(few.context.settings.no_progress_timeout_s, os._exit, [1])
    watch.daemon = True
    watch.start()
    try:
        return few.annotate(unit_id)
    except (MemoryError, torch.AcceleratorError):
        # No fault of the images', and nothing that a worker of Ray's would raise: it would end, and another
        # one go on.
        os._exit(1)
    finally:
        watch.cancel()
