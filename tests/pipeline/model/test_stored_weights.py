"""Weights are taken from a bucket as from a disk."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from support.networks import noisy_network
from support.s3 import Bucket

from pipeline.model.network import load_network
from pipeline.model.stored_weights import load_stored_weights
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.build import build_model
from posrefine.errors import WeightsError
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.weights import save_weights

MODEL, SCORE_NET = noisy_network(), ScoreNet(COCO)


def stored(bucket: Bucket, folder: Path, model: torch.nn.Module, key: str) -> str:
    save_weights(model, folder / "weights.safetensors", {"protocol": "mmpose"})
    return bucket.write(key, (folder / "weights.safetensors").read_bytes())


def test_a_run_takes_both_its_networks_from_a_bucket(tmp_path: Path, s3_bucket: Bucket):
    pose = stored(s3_bucket, tmp_path, MODEL, "models/pose.safetensors")
    score = stored(s3_bucket, tmp_path, SCORE_NET, "models/score.safetensors")
    settings = RunSettings(
        input="photos", output="out", model="posrefine_tiny", weights=pose, score_weights=score
    )
    network = load_network(settings, Storage())
    for name, value in MODEL.state_dict().items():
        assert torch.equal(network.model.state_dict()[name], value), name
    assert network.score_net is not None
    assert torch.equal(network.score_net.l1.weight, SCORE_NET.l1.weight)
    assert network.identity.protocol == "mmpose"
    for key, digest in (
        ("pose", network.identity.weights_sha256),
        ("score", network.identity.score_weights_sha256),
    ):
        assert digest == hashlib.sha256(s3_bucket.read(f"models/{key}.safetensors")).hexdigest()


def test_weights_that_a_bucket_does_not_have_are_named_with_what_would_do(s3_bucket: Bucket):
    address = f"{s3_bucket.uri}/models/pose.safetensors"
    with pytest.raises(
        WeightsError, match=rf"{re.escape(address)}: there is no such object; .*mmpose:dekr_w32_coco"
    ):
        load_stored_weights(build_model("posrefine_tiny"), address, Storage())


def test_weights_in_a_bucket_that_do_not_fit_are_refused_with_their_address_and_the_first_tensor(
    tmp_path: Path, s3_bucket: Bucket
):
    address = stored(s3_bucket, tmp_path, MODEL, "pose.safetensors")
    with pytest.raises(WeightsError, match=rf"{re.escape(address)}: tensor transition_offset.0.weight"):
        load_stored_weights(build_model("posrefine_tiny", skeleton=CROWDPOSE), address, Storage())
