"""A predictor that is pickled, copied or saved finds the same persons afterwards."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from support.networks import noisy_network

from posrefine import COCO, Poses, Predictor
from posrefine.errors import ImageError, ImageStatus
from posrefine.modeling.score_net import ScoreNet
from posrefine.modeling.trained_for import TrainedFor
from posrefine.weights import WeightsInfo

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def made() -> Predictor:
    model = noisy_network()
    model.trained_for = TrainedFor(64, "posrefine")
    torch.manual_seed(3)
    predictor = Predictor(
        model, scales=(0.5, 1.0), score_net=ScoreNet(COCO), device="cpu", precision="float32"
    )
    predictor.weights = WeightsInfo("0" * 64, "made", "posrefine", "posrefine")
    return predictor


def saved_by_torch(predictor: Predictor) -> Predictor:
    file = io.BytesIO()
    torch.save(predictor, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("travel", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy, saved_by_torch])
def test_a_copy_finds_the_same_persons_with_the_same_settings(travel):
    predictor = made()
    expected = predictor(IMAGE)
    assert len(expected) > 0
    state = torch.random.get_rng_state()
    again = travel(predictor)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert again(IMAGE) == expected
    assert (again.scales, again.flip, again.protocol) == (
        predictor.scales,
        predictor.flip,
        predictor.protocol,
    )
    assert again.input_size == 64
    assert again.weights == predictor.weights


def test_what_travels_are_the_weights_of_the_moment_it_was_made():
    model = noisy_network()
    predictor = Predictor(model, input_size=64, precision="float32")
    expected = predictor(IMAGE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert pickle.loads(pickle.dumps(predictor))(IMAGE) == expected


@pytest.mark.slow
def test_spawned_workers_find_persons_and_send_their_errors_home():
    predictor = made()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (found,) = pool.map(predictor, [IMAGE])
        with pytest.raises(ImageError, match="no such file") as caught:
            pool.map(predictor, ["nowhere.jpg"])
    assert isinstance(found, Poses)
    expected = predictor(IMAGE)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-2)
    assert caught.value.status is ImageStatus.MISSING
