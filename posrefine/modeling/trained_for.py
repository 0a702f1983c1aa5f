"""The test that a network's weights were trained for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainedFor"]


@dataclass(frozen=True)
class TrainedFor:
    """What a network is to be tested with unless somebody says otherwise.

    Attributes:
        input_size_px: short side of the scale-1 input.
        protocol: name of the test-time protocol: `official`, `mmpose` or `posrefine`.
        scales: test scales that are recommended where time does not matter, 1 among them; nobody takes them
            unasked, since each costs a pass of the network.
        score_weights: name in the zoo of the rescoring network that was trained beside it, if there is one.
    """

    input_size_px: int
    protocol: str = "official"
    scales: tuple[float, ...] = (1.0,)
    score_weights: str | None = None
