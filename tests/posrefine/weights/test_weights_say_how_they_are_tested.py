"""A network knows the input size and the protocol of the weights in it, and the predictor takes them."""

from __future__ import annotations

import copy

import pytest
import torch

from posrefine import COCO, Predictor, build_model, load_weights, save_weights
from posrefine.build import VARIANTS
from posrefine.errors import WeightsError
from posrefine.modeling.score_net import ScoreNet
from posrefine.modeling.trained_for import TrainedFor
from posrefine.skeletons import SKELETONS
from posrefine.test_protocols import MMPOSE
from posrefine.weights import ZOO, load_weights_bytes
from posrefine.weights.checkpoint import encode_safetensors


@pytest.mark.parametrize("name", VARIANTS)
def test_a_network_as_built_is_for_the_size_of_its_variant_and_the_official_protocol(name):
    with torch.device("meta"):
        model = build_model(name)
    assert model.trained_for == TrainedFor(VARIANTS[name].input_size, "official")


def test_the_bundled_weights_bring_their_size_protocol_scales_and_rescoring_network():
    model = build_model("posrefine_tiny")
    info = load_weights(model, "posrefine:tiny_coco")
    assert model.trained_for == info.trained_for
    assert info.trained_for == TrainedFor(256, "posrefine", (1.0, 1.5, 2.0, 2.5), "posrefine:tiny_coco_score")
    predictor = Predictor(model)
    assert (predictor.input_size, predictor.protocol.name) == (256, "posrefine")
    assert predictor.scales == (1.0,)


def test_what_the_caller_names_wins(model_of_tiny):
    predictor = Predictor(model_of_tiny, input_size=128, protocol=MMPOSE)
    assert (predictor.input_size, predictor.protocol) == (128, MMPOSE)


@pytest.fixture
def model_of_tiny():
    torch.manual_seed(0)
    return build_model("posrefine_tiny")


def test_our_own_files_say_their_input_size_and_protocol(model_of_tiny, tmp_path):
    path = tmp_path / "own.safetensors"
    save_weights(model_of_tiny, path, {"protocol": "mmpose", "input_size": "384"})
    other = build_model("posrefine_tiny")
    load_weights(other, path)
    assert other.trained_for == TrainedFor(384, "mmpose")


def test_copies_of_a_network_know_it_too(model_of_tiny):
    model_of_tiny.trained_for = TrainedFor(384, "mmpose")
    assert copy.deepcopy(model_of_tiny).trained_for == TrainedFor(384, "mmpose")


@pytest.mark.parametrize("text", ["", "0", "-64", "512.0", "1e9", "999999", "٣", "px"])
def test_an_input_size_that_is_none_is_refused_by_name(model_of_tiny, text, tmp_path):
    with pytest.raises(WeightsError, match=r"own\.safetensors: metadata 'input_size'"):
        save_weights(model_of_tiny, tmp_path / "own.safetensors", {"input_size": text})
    data = encode_safetensors(model_of_tiny.state_dict(), {"format": "posrefine", "input_size": text})
    with pytest.raises(WeightsError, match=r"file: metadata 'input_size'"):
        load_weights_bytes(model_of_tiny, data, "file")
    assert model_of_tiny.trained_for == TrainedFor(256, "official")


def test_a_backbone_or_a_rescoring_network_says_nothing_of_the_kind(model_of_tiny):
    trunk = {
        name: value
        for name, value in model_of_tiny.state_dict().items()
        if not name.startswith(("head_", "offset_", "transition_heatmap", "transition_offset", "refine."))
    }
    info = load_weights_bytes(model_of_tiny, encode_safetensors(trunk, {}), "trunk")
    assert info.format == "imagenet"
    assert info.trained_for is None
    assert model_of_tiny.trained_for == TrainedFor(256, "official")
    score = ScoreNet(COCO)
    assert load_weights_bytes(score, encode_safetensors(score.state_dict(), {}), "s").trained_for is None


def test_what_the_zoo_recommends_exists():
    for entry in ZOO.values():
        assert 1.0 in entry.scales
        if entry.score_weights is not None:
            of_score = ZOO[entry.score_weights]
            assert (of_score.variant, of_score.skeleton) == ("score_net", entry.skeleton)
            assert of_score.protocol == entry.protocol
        if entry.skeleton is not None and entry.variant != "score_net":
            assert entry.input_size_px == VARIANTS[entry.variant].input_size
    assert {entry.skeleton for entry in ZOO.values()} - {None} == set(SKELETONS)
