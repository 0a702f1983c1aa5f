"""Which arithmetic a run's network uses: decided once, when it begins, for all its machines and attempts."""

from __future__ import annotations

import ray
import torch
from ray.exceptions import GetTimeoutError

from pipeline.settings.run import RunSettings
from pipeline.stages.cluster import ClusterLayout, cluster_layout, cluster_nodes
from pipeline.stages.shares import LOAD_CPUS
from posrefine.errors import ConfigurationError
from posrefine.inference.fast.device import Precision, available_device, choose_dtype

__all__ = ["decide_precision", "faster_on"]

_WAIT_S = 60.0


def decide_precision(settings: RunSettings) -> Precision:
    """The faster arithmetic on a machine that inference actors will run on; needs a connection to Ray.

    Raises:
        ConfigurationError: the actors fit no machine, or no device of their kind is free.
    """
    layout = cluster_layout(settings, cluster_nodes())
    device = "auto" if layout.gpus_per_actor else "cpu"
    if device == "cpu" and sum(node["Alive"] for node in ray.nodes()) == 1:
        return faster_on(device)
    return _ask_a_machine(layout, device)


def _ask_a_machine(layout: ClusterLayout, device: str) -> Precision:
    asked = (
        ray.remote(faster_on)
        .options(num_cpus=LOAD_CPUS, num_gpus=layout.gpus_per_actor or None)
        .remote(device)
    )
    try:
        return Precision(ray.get(asked, timeout=_WAIT_S))
    except GetTimeoutError as error:
        ray.cancel(asked, force=True)
        raise ConfigurationError(
            f"no machine had {layout.gpus_per_actor:g} GPUs free within {_WAIT_S:g} s: wait for the jobs "
            "that hold them, lower --num-gpus-per-actor, or name a --precision to queue up behind them"
        ) from error


def faster_on(device: str) -> Precision:
    """The faster arithmetic on a device of this machine; `auto`: a GPU if there is one.

    Raises:
        ConfigurationError: there is no such device here.
    """
    dtype = choose_dtype(Precision.AUTO, available_device(device))
    return Precision.BFLOAT16 if dtype is torch.bfloat16 else Precision.FLOAT32
