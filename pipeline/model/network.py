"""The network of a run, loaded once in the driver, and the predictor that an actor makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.model.stored_weights import load_stored_weights
from pipeline.output.record import UNTRAINED_NOTE, NetworkIdentity
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.build import build_model
from posrefine.inference.predictor import Predictor
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import SKELETONS
from posrefine.test_protocols import OFFICIAL, TEST_PROTOCOLS

__all__ = ["Network", "load_network"]


@dataclass(frozen=True)
class Network:
    """A network with its weights, on the CPU; travels to the actors through the object store, once.

    Attributes:
        model: the pose network.
        score_net: the rescoring network, if one was named.
        identity: what of them decides the poses.
        note: what must be known about its poses: that they mean nothing, or what the weights' file says.
    """

    model: PoseNetwork
    score_net: ScoreNet | None
    identity: NetworkIdentity
    note: str | None

    def predictor(self, settings: RunSettings, device: str) -> Predictor:
        """The predictor of these settings on `device`."""
        return Predictor(
            self.model,
            input_size=self.identity.input_size,
            scales=settings.scales,
            flip=settings.flip,
            nms_threshold=settings.nms_threshold,
            score_net=self.score_net,
            device=device,
            precision=settings.precision,
            protocol=TEST_PROTOCOLS[self.identity.protocol],
        )


def load_network(settings: RunSettings, storage: Storage) -> Network:
    """Build the network and fill it.

    Raises:
        ConfigurationError: there is no such network, or the weights do not fit it.
        StorageError: the weights cannot be read from the object store.
    """
    skeleton = SKELETONS[settings.skeleton]
    # An untrained network is the same in every process, so that an interrupted demonstration resumes.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(settings.model, skeleton=skeleton)
    note: str | None
    if settings.untrained:
        sha256, protocol, note = _tensors_sha256(model), OFFICIAL.name, UNTRAINED_NOTE
    else:
        info = load_stored_weights(model, settings.weights, storage)
        sha256, protocol, note = info.sha256, info.protocol, info.note
    score_net, score_sha256 = None, None
    if settings.score_weights is not None:
        score_net = ScoreNet(skeleton)
        score_sha256 = load_stored_weights(score_net, settings.score_weights, storage).sha256
    network = Network(
        model=model,
        score_net=score_net,
        identity=NetworkIdentity(
            weights_sha256=sha256,
            score_weights_sha256=score_sha256,
            protocol=protocol,
            input_size=settings.input_size or model.trained_for.input_size_px,
        ),
        note=note,
    )
    # Settings that do not fit each other are found out here, before any actor is started.
    network.predictor(settings, "cpu")
    return network


def _tensors_sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
