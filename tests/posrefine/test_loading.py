"""From the name of weights to poses in two lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support.networks import noisy_network

import posrefine
from posrefine.errors import ConfigurationError, WeightsError
from posrefine.modeling.score_net import ScoreNet
from posrefine.synthetic import EASY, render_scene
from posrefine.test_protocols import OFFICIAL
from posrefine.weights import ZOO
from posrefine.weights.checkpoint import encode_safetensors

TINY = "posrefine:tiny_coco"


@pytest.fixture(scope="module")
def predictor():
    return posrefine.load(TINY, device="cpu", precision="float32")


def test_a_name_brings_its_network_input_size_protocol_and_rescoring(predictor):
    assert (predictor.input_size, predictor.protocol.name, predictor.scales) == (256, "posrefine", (1.0,))
    assert predictor.skeleton is posrefine.COCO
    assert predictor.weights.sha256.startswith(ZOO[TINY].sha256_prefix)
    assert "rendered people" in predictor.weights.note
    pixels = render_scene(8_000_001, EASY).image
    score_net, model = ScoreNet(posrefine.COCO), posrefine.build_model("posrefine_tiny")
    posrefine.load_weights(score_net, "posrefine:tiny_coco_score")
    posrefine.load_weights(model, TINY)
    by_hand = posrefine.Predictor(model, score_net=score_net, precision="float32")(pixels)
    assert len(by_hand) > 0
    assert predictor(pixels) == by_hand
    plain = posrefine.load(TINY, rescore=False, device="cpu", precision="float32")(pixels)
    assert plain == posrefine.Predictor(model, precision="float32")(pixels)
    assert plain != by_hand


def test_one_photograph_gives_one_result_and_a_sequence_a_list(predictor, tmp_path):
    pixels = render_scene(8_000_001, EASY).image
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    forms = [path, str(path), Image.fromarray(pixels), pixels]
    first = predictor(path)
    assert isinstance(first, posrefine.Poses)
    assert first.skeleton is posrefine.COCO
    assert predictor(str(path)) == predictor(Image.fromarray(pixels)) == predictor(pixels) == first
    for several in (forms, tuple(forms), np.stack([pixels, pixels])):
        found = predictor(several)
        assert isinstance(found, list)
        for poses in found:
            assert len(poses) == len(first)
            np.testing.assert_allclose(poses.keypoints, first.keypoints, atol=0.05)


@pytest.mark.parametrize("thing", [7, None, {"a": 1}, iter([])])
def test_what_is_neither_is_refused(predictor, thing):
    with pytest.raises(posrefine.errors.ImageError, match=f"sequence of them, got .*{type(thing).__name__}"):
        predictor(thing)


def test_our_own_files_say_which_network_they_are_for(tmp_path):
    path = tmp_path / "own.safetensors"
    metadata = {
        "variant": "posrefine_tiny",
        "skeleton": "crowdpose",
        "protocol": "mmpose",
        "input_size": "64",
    }
    posrefine.save_weights(noisy_network(posrefine.CROWDPOSE), path, metadata)
    predictor = posrefine.load(path, device="cpu")
    assert predictor.skeleton is posrefine.CROWDPOSE
    assert (predictor.input_size, predictor.protocol.name) == (64, "mmpose")
    assert predictor.weights.origin == str(path)
    named = posrefine.load(path, device="cpu", input_size=128, protocol=OFFICIAL, scales=(1, 2), flip=False)
    assert (named.input_size, named.protocol, named.num_views) == (128, OFFICIAL, 2)


def test_a_file_that_does_not_say_it_is_loaded_once_the_network_is_named(tmp_path):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(encode_safetensors(noisy_network().state_dict(), {"format": "pt", "variant": "theirs"}))
    with pytest.raises(
        ConfigurationError, match=r"foreign\.safetensors: the file does not say.*model=.*dekr_w32"
    ):
        posrefine.load(path)
    assert posrefine.load(path, device="cpu", model="posrefine_tiny").input_size == 256


def test_other_rescoring_can_be_named_and_must_fit(tmp_path):
    torch.manual_seed(0)
    path, other = tmp_path / "score.safetensors", tmp_path / "crowdpose.safetensors"
    posrefine.save_weights(ScoreNet(posrefine.COCO), path)
    posrefine.save_weights(ScoreNet(posrefine.CROWDPOSE), other)
    pixels = render_scene(8_000_001, EASY).image
    rescored = posrefine.load(TINY, rescore=path, device="cpu")(pixels)
    assert rescored != posrefine.load(TINY, device="cpu")(pixels)
    with pytest.raises(WeightsError, match=r"crowdpose\.safetensors"):
        posrefine.load(TINY, rescore=other, device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no such file", "no such file: cannot be read"),
        ("posrefine:tiny_coco_score", "a rescoring network, which finds no persons; load one of mmpose:dekr"),
        ("imagenet:hrnet_w32", "a backbone alone, which finds no persons"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_is_downloaded(name, message):
    with pytest.raises(WeightsError, match=message):
        posrefine.load(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": None}, "weights is None, expected a name of the zoo or a file"),
        ({"weights": 5}, "weights is 5, expected"),
        ({"rescore": 1}, "rescore is 1, expected True, False or"),
        ({"skeleton": "crowdpose"}, r"skeleton is 'crowdpose', expected a Skeleton.*posrefine\.CROWDPOSE"),
        ({"protocol": "official"}, "protocol is 'official', expected a TestProtocol"),
    ],
)
def test_arguments_of_another_kind_are_refused_by_name(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        posrefine.load(**{"weights": TINY, **arguments})


def test_auto_is_a_gpu_where_there_is_one():
    predictor = posrefine.load(TINY)
    assert predictor.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
