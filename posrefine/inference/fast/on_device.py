"""The one way in which this project makes a GPU torch's current one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["on_device"]


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Around everything that goes to the current device rather than to that of its tensors.

    Graphs, streams, events, Triton's launches and what torch says of "the" GPU are such; without it, what was
    meant for `cuda:1` runs or is waited for on `cuda:0`, and results are read before they are there.

    Args:
        device: a GPU with its index; on others there is nothing to choose.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
