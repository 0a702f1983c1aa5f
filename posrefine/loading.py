"""From the name of weights to a predictor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from posrefine.build import VARIANTS, build_model
from posrefine.errors import ConfigurationError, WeightsError
from posrefine.inference.predictor import Predictor
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, SKELETONS, Skeleton
from posrefine.test_protocols import TestProtocol
from posrefine.weights.checkpoint import Checkpoint
from posrefine.weights.info import WeightsInfo
from posrefine.weights.load import load_checkpoint, load_weights, read_checkpoint
from posrefine.weights.metadata import own_metadata
from posrefine.weights.zoo import ZOO, ZooEntry, zoo_entry_of

__all__ = ["load", "load_network"]

_SCORE_NET = "score_net"


def load(
    weights: str | Path,
    rescore: bool | str | Path = True,
    device: str | torch.device = "auto",
    *,
    model: str | None = None,
    skeleton: Skeleton | None = None,
    input_size: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = True,
    nms_threshold: float | None = None,
    precision: str = "auto",
    protocol: TestProtocol | None = None,
) -> Predictor:
    """A predictor with the network, the input size, the test-time protocol and the rescoring of weights.

    Args:
        weights: a name of the zoo (`posrefine zoo` lists them), or a safetensors or PyTorch file.
        rescore: whether persons' scores come from the rescoring network that was trained beside the weights,
            where there is one; or the weights of another one.
        device: torch device; `auto` is the first GPU, or the CPU where there is none.
        model: name of the network, for files that do not say (`posrefine variants` lists them).
        skeleton: whose joints; None is what the weights say, or COCO's where they say nothing.
        input_size: as are all below, what `Predictor` takes; None is what network and weights say.

    Raises:
        WeightsError: the weights are missing or cannot be downloaded, are no checkpoint, or do not fit.
        ConfigurationError: the weights do not say which network they are for; or settings that do not fit.
    """
    network, info = load_network(weights, model=model, skeleton=skeleton)
    predictor = Predictor(
        network,
        input_size,
        scales,
        flip,
        nms_threshold,
        _score_net(network, rescore),
        device,
        precision,
        protocol=protocol,
    )
    predictor.weights = info
    return predictor


def load_network(
    weights: str | Path, *, model: str | None = None, skeleton: Skeleton | None = None
) -> tuple[PoseNetwork, WeightsInfo]:
    """The network that weights are for, with the weights in it, and what is known about them.

    Args:
        weights: a name of the zoo, or a safetensors or PyTorch file.
        model: name of the network, for files that do not say.
        skeleton: whose joints; None is what the weights say, or COCO's where they say nothing.

    Raises:
        WeightsError: the weights are missing or cannot be downloaded, are no checkpoint, or do not fit.
        ConfigurationError: the weights do not say which network they are for.
    """
    if str(weights) in ZOO:
        _require_whole(ZOO[str(weights)])  # before anything is downloaded in vain
    checkpoint = read_checkpoint(weights)
    entry = zoo_entry_of(checkpoint.sha256)
    if entry is not None:
        _require_whole(entry)
    declared = _Declared.by(checkpoint, entry, skeleton)
    variant = model or declared.variant
    if variant is None:
        raise ConfigurationError(
            f"weights {weights}: the file does not say which network it is for; name it, such as "
            f"load(..., model={next(iter(VARIANTS))!r}): one of {', '.join(VARIANTS)}"
        )
    network = build_model(variant, skeleton=skeleton or declared.skeleton or COCO)
    info = load_checkpoint(network, checkpoint)
    if info.trained_for is None:
        raise _not_whole(weights, "a backbone alone")
    return network, info


def _require_whole(entry: ZooEntry) -> None:
    if entry.variant == _SCORE_NET:
        raise _not_whole(entry.name, "a rescoring network")
    if entry.skeleton is None:
        raise _not_whole(entry.name, "a backbone alone")


def _not_whole(weights: str | Path, what: str) -> WeightsError:
    whole = ", ".join(name for name, entry in ZOO.items() if entry.published_ap is not None)
    return WeightsError(f"weights {weights}: hold {what}, which finds no persons; load one of {whole}")


@dataclass(frozen=True)
class _Declared:
    """What a file says of the network that it is for, or the zoo of the file."""

    variant: str | None
    skeleton: Skeleton | None

    @staticmethod
    def by(checkpoint: Checkpoint, entry: ZooEntry | None, wanted: Skeleton | None) -> _Declared:
        # What is no skeleton is refused, by name, where the network is built.
        known = wanted if isinstance(wanted, Skeleton) else None
        metadata = own_metadata(checkpoint, known)
        variant = metadata.get("variant") or (entry.variant if entry else None)
        skeleton = metadata.get("skeleton") or (entry.skeleton if entry else None)
        return _Declared(variant, SKELETONS.get(skeleton or ""))


def _score_net(network: PoseNetwork, rescore: bool | str | Path) -> ScoreNet | None:
    name = network.trained_for.score_weights if rescore is True else rescore
    if name is None or name is False:
        return None
    if not isinstance(name, str | os.PathLike):
        raise ConfigurationError(
            f"rescore is {rescore!r}, expected True, False or the weights of a score network"
        )
    score_net = ScoreNet(network.skeleton)
    load_weights(score_net, name)
    return score_net
