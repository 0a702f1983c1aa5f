"""A network that finds nobody, and takes its time as a test says: an image for each ticket."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from pipeline.model.network import Network, load_network
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.inference.fast.backend import Library
from posrefine.inference.fast.prepare import Preparation
from posrefine.poses import Poses

__all__ = ["TicketOffice"]

_NOBODY = Poses(*(np.zeros(shape, np.float32) for shape in ((0, 17, 2), (0, 17), (0,), (0, 17))))
_LOOK_AGAIN_S = 0.1


class TicketOffice:
    """A folder with the tickets, and with a note of each machine on which an actor has asked for one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "machines").mkdir(parents=True)

    def give(self, tickets: int) -> None:
        """So many more images may be worked on."""
        for number in range(tickets):
            (self._folder / f"{time.monotonic_ns()}-{number}.ticket").touch()

    def open(self) -> None:
        """All may."""
        (self._folder / "open").touch()

    def machines(self) -> set[str]:
        """Node ids of machines where actors have been at work."""
        return {path.name for path in (self._folder / "machines").iterdir()}

    def network(self) -> Callable[[RunSettings, Storage], Network]:
        """What a run takes to load its network."""
        folder = self._folder

        def load(settings: RunSettings, storage: Storage) -> Network:
            network = _TicketNetwork(**vars(load_network(settings, storage)))
            object.__setattr__(network, "folder", folder)
            return network

        return load


class _TicketNetwork(Network):
    folder: Path

    def predictor(self, settings: RunSettings, device: str) -> Any:
        return _TicketPredictor(self.folder)


class _TicketPredictor:
    preparation = Preparation("none", torch.float32, Library.TORCH, "nothing", graphs=False, seconds=0.0)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plan(self, _shape: tuple[int, int]) -> None:
        """Takes every size."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        (self._folder / "machines" / ray.get_runtime_context().get_node_id()).touch()
        for _ in images:
            while not (self._folder / "open").exists() and not self._takes_a_ticket():
                time.sleep(_LOOK_AGAIN_S)
        return [_NOBODY] * len(images)

    def _takes_a_ticket(self) -> bool:
        for ticket in self._folder.glob("*.ticket"):
            try:
                ticket.unlink()
            except FileNotFoundError:
                continue
            return True
        return False
