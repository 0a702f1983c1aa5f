"""What is known about weights once they are in a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from posrefine.modeling.trained_for import TrainedFor

__all__ = ["WeightsInfo"]


@dataclass(frozen=True)
class WeightsInfo:
    """Where a network's weights came from, and what of the file was used.

    Attributes:
        sha256: hex digest of the file's bytes.
        origin: the path, zoo name or address the file was named by.
        format: `posrefine`, `dekr`, `mmpose`, `imagenet` or `rescore`.
        protocol: test-time protocol the weights were trained for: `official`, `mmpose` or `posrefine`.
        trained_for: how a network with these weights is tested: input size, protocol, scales. None
            for what is not a whole pose network: a rescoring network or a bare backbone.
        skeleton: name of the skeleton, None for a bare backbone.
        licence: SPDX name where the file or the zoo states one.
        note: what the file says must be known about the poses that it gives.
        not_in_file: tensors of the network that the file does not hold and that stay as built (refinement
            modules behind a DEKR checkpoint, heads behind an ImageNet one); normalisation counters left out.
        not_used: tensors of the file that the network has no place for (a classification head).
        metadata: the file's own text metadata.
    """

    sha256: str
    origin: str
    format: str
    protocol: str
    trained_for: TrainedFor | None = None
    skeleton: str | None = None
    licence: str | None = None
    note: str | None = None
    not_in_file: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
