"""Drivers of the annotate job for a campaign of faults: everything is real but the network, which costs nothing.

They are forked from a process that has imported everything, so that a start costs little. On Ray the stages
are the real ones; without it (`InOneProcess`) loading, annotating and committing take turns in the driver, and
what is struck is the driver, its lease and the store.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from machine import RESULTS
from numpy.typing import NDArray
from PIL import Image

from pipeline.driver import retry, run
from pipeline.exit_codes import exit_code_of
from pipeline.ground_truth.image_names import NamedImages
from pipeline.inputs.load import load_unit
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.readers import ReadOptions, read_options
from pipeline.inputs.units import LoadedImage
from pipeline.model.annotator import UnitAnnotator
from pipeline.output.record import NetworkIdentity, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.writer import OutputWriter
from pipeline.settings.run import RunSettings
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from pipeline.stages.retried_units import failed_part, known_uris, read_unit
from pipeline.stages.tasks import StageContext, committed
from pipeline.storage import Storage
from posrefine.inference.fast.prepare import Preparation
from posrefine.poses import Poses

sys.path.insert(0, str(RESULTS.parents[1] / "tests"))

from support.dying_driver import arm

# Else every driver would look for Pillow's formats on the disk.
Image.init()

__all__ = ["HUNGRY", "KILLER", "drive"]

KILLER, HUNGRY = (250, 1, 2), (250, 3, 4)
"""Colours of images: of one that crashes its process, and of one that wants the memory for itself."""


class CheapPredictor:
    """Finds one person in every image, whose joints are its mean colour."""

    preparation = Preparation("cpu", "float32", "no", "nothing", graphs=False, seconds=0.0)  # type: ignore[arg-type]

    def plan(self, size: tuple[int, int]) -> None:
        """Everything fits."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        colours = [tuple(int(value) for value in pixels[0, 0]) for pixels in images]
        if KILLER in colours:
            ctypes.string_at(0)
        if HUNGRY in colours and len(images) > 1:
            # As the kernel ends a process when memory runs out.
            os.kill(os.getpid(), signal.SIGKILL)
        return [_person(pixels) for pixels in images]


def _person(pixels: NDArray[np.uint8]) -> Poses:
    mean = float(pixels.mean())
    joints = np.full((1, 17), mean, np.float32)
    return Poses(
        keypoints=np.full((1, 17, 2), mean, np.float32),
        keypoint_scores=joints,
        scores=np.full(1, 0.5, np.float32),
        spread_px=joints,
    )


class CheapNetwork:
    """Takes the place of `Network`."""

    identity = NetworkIdentity("0" * 64, None, "official", 64)
    note = "a campaign of faults: the poses mean nothing"

    def predictor(self, settings: RunSettings, device: str) -> CheapPredictor:
        """Of any settings."""
        return CheapPredictor()


@dataclass
class InOneProcess:
    """Takes the place of `Drive`: the stages one after the other, without Ray."""

    settings: RunSettings
    network: Any
    image_names: NamedImages
    tally: None = None

    def __enter__(self) -> InOneProcess:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def annotate(
        self,
        pending: Sequence[str],
        manifest: Manifest,
        record: RunRecord,
        writer: OutputWriter,
        *,
        again: ReadOptions | None = None,
    ) -> None:
        """As `Drive.annotate`."""
        reading = again or read_options(self.settings, self.network.identity.input_size)
        annotator = UnitAnnotator(self.network, self.settings, "cpu", self.image_names, reading)
        context = StageContext(
            settings=self.settings,
            manifest=manifest,
            reading=reading,
            output=writer.output,
            witness=writer.lock.witness,
            generation=writer.lock.generation,
            again=again is not None,
            metadata=record.table_metadata().encode(),
            ledger=None,
            network=None,
            image_names=None,
        )
        for unit_id in pending:
            images = self._load(unit_id, context)
            found = annotator.one_by_one(images, lambda uri: False, lambda uri: None)
            loaded = LoadedUnit(unit_id, 1, 0.0, images)
            unit = AnnotatedUnit.of(
                loaded,
                found.results,
                attempts=1,
                infer_s=0.0,
                predictor_s=0.0,
                busy_s=0.0,
                prepared="",
                prepare_s=0.0,
            )
            committed(unit, context)
            writer.lock.check()

    def _load(self, unit_id: str, context: StageContext) -> list[LoadedImage]:
        storage, unit = context.output.storage, context.manifest.unit(unit_id)
        known: frozenset[str] = frozenset()
        if context.again:
            old, _ = read_unit(context.output, unit_id)
            unit, known = failed_part(unit, old, storage), known_uris(old)
        return [image for image in load_unit(unit, storage, context.reading) if image.uri not in known]


def drive(command: str, given: str, output: str, address: str | None, when: str, log: str) -> None:
    """A driver, in a process of its own; see dying_driver.py for `when`. Ends the process with its code.

    Args:
        command: `run` or `retry-failed`.
        given: the input.
        output: the output.
        address: of the Ray cluster; None for none.
        when: what it does to itself.
        log: the file that it writes what it says to.
    """
    file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    arm(when)
    if address is None:
        run.Drive = retry.Drive = InOneProcess  # type: ignore[misc, assignment]
    else:
        os.environ["RAY_ADDRESS"] = address
    settings = RunSettings(
        input=given,
        output=output,
        model="cheap",
        weights="cheap",
        precision="float32",
        unit_images=6,
        table_units=2,
        max_error_rate=1.0,
        lock_expiry_s=8.0,
    )
    load = lambda settings, storage: CheapNetwork()  # noqa: E731
    try:
        if command == "run":
            code = int(run.run(settings, load).exit_code)  # type: ignore[arg-type]
        else:
            found = RunOutput.at(output, Storage())
            code = int(retry.retry_failed(found, "cpu", load=load).exit_code)  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - the end of the process
        traceback.print_exc()
        code = int(exit_code_of(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
