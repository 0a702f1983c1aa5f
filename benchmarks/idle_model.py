"""The annotate job with a network that does nothing: `python benchmarks/idle_model.py --input ... --output ...`.

Everything but the network is the real thing, so what this reaches is what the pipeline itself can move.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.driver.run import run
from pipeline.model.network import Network, load_network
from pipeline.settings.command_line import add_settings, settings_given
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.storage import Storage
from posrefine.inference.fast.backend import Library
from posrefine.inference.fast.prepare import Preparation
from posrefine.poses import Poses

NOBODY = Poses(*(np.zeros(shape, np.float32) for shape in ((0, 17, 2), (0, 17), (0,), (0, 17))))


class IdlePredictor:
    """Finds nobody, at once."""

    preparation = Preparation("none", torch.float32, Library.TORCH, "nothing", graphs=False, seconds=0.0)

    def plan(self, _shape: tuple[int, int]) -> None:
        """Takes every size."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        return [NOBODY] * len(images)


class IdleNetwork(Network):
    """A network whose predictor does nothing."""

    def predictor(self, settings: RunSettings, device: str) -> Any:
        return IdlePredictor()


def idle_network(settings: RunSettings, storage: Storage) -> Network:
    return IdleNetwork(**vars(load_network(settings, storage)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings(parser, RunSettings)
    given = settings_given(parser.parse_args(), RunSettings)
    network = {"model": "posrefine_tiny", "weights": "untrained"}
    outcome = run(load_settings(RunSettings, network | given), load=idle_network)
    print("\n".join(outcome.lines()))


if __name__ == "__main__":
    main()
