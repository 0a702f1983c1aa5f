"""What callers of the predictor rely on."""

import numpy as np
import pytest
import torch
from support.networks import noisy_network

from posrefine.errors import ConfigurationError, ImageError, ImageStatus
from posrefine.inference.predictor import Predictor
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.test_protocols import MMPOSE

SIZES = [(60, 80), (80, 60), (90, 120), (60, 80), (50, 50), (61, 83), (1, 1), (60, 80)]


@pytest.fixture(scope="module")
def model():
    return noisy_network()


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model, input_size=64, precision="float32")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_alike(first, second):
    assert len(first) == len(second)
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-2)
    np.testing.assert_allclose(first.keypoint_scores, second.keypoint_scores, atol=1e-4)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
    np.testing.assert_allclose(first.spread_px, second.spread_px, atol=1e-2)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 2.0)])
@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_images_in_one_call_get_the_poses_they_get_alone_in_the_same_order(skeleton, scales):
    predictor = Predictor(noisy_network(skeleton), input_size=64, scales=scales, precision="float32")
    images = [noise(*hw, seed) for seed, hw in enumerate(SIZES)]
    together = predictor(images)
    assert len(together) == len(images)
    assert any(len(poses) > 1 for poses in together)
    for image, poses in zip(images, together, strict=True):
        assert poses.keypoints.shape[1:] == (skeleton.num_joints, 2)
        assert_alike(poses, predictor([image])[0])


def test_the_size_of_micro_batches_does_not_matter(model, predictor):
    images = [noise(*hw, seed) for seed, hw in enumerate(SIZES)]
    one_by_one = Predictor(model, input_size=64, max_batch_pixels=1, precision="float32")
    for first, second in zip(predictor(images), one_by_one(images), strict=True):
        assert_alike(first, second)


def test_poses_are_plain_float32_arrays_best_first(predictor):
    poses = predictor([noise(60, 80)])[0]
    assert 1 <= len(poses) <= 30
    for array in (poses.keypoints, poses.keypoint_scores, poses.scores, poses.spread_px):
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float32
    assert (np.diff(poses.scores) <= 0).all()


def test_no_images_give_no_poses(predictor):
    assert predictor([]) == []


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 2.0)])
def test_an_image_without_persons_has_an_empty_result(scales):
    empty = Predictor(noisy_network(heat_bias=-5.0), input_size=64, scales=scales, precision="float32")
    poses = empty([noise(60, 80)])[0]
    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 17, 2)
    assert poses.spread_px.shape == (0, 17)


def test_a_single_pixel_is_an_image_too(predictor):
    poses = predictor([noise(1, 1)])[0]
    assert np.isfinite(poses.keypoints).all()


def test_views_of_other_arrays_are_taken_as_they_are(predictor):
    frozen = noise(60, 80)
    frozen.flags.writeable = False
    mirrored = noise(60, 80)[:, ::-1]
    expected = predictor([np.ascontiguousarray(mirrored), frozen.copy()])
    for poses, other in zip(predictor([mirrored, frozen]), expected, strict=True):
        assert_alike(poses, other)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((48, 64), np.uint8), r"\[48, 64\] uint8"),
        (np.zeros((48, 64, 4), np.uint8), r"\[48, 64, 4\] uint8"),
        (np.zeros((48, 64, 3), np.float32), r"\[48, 64, 3\] float32"),
        ([[0, 0, 0]], "list"),
        (None, "NoneType"),
    ],
)
def test_anything_but_rgb_pixels_is_refused_with_what_was_found(predictor, image, found):
    with pytest.raises(ImageError, match=rf"image 1 of the call.*expected.*uint8 RGB.*got {found}") as caught:
        predictor([noise(48, 64), image])
    assert caught.value.status is ImageStatus.UNSUPPORTED


def test_an_image_without_pixels_is_refused(predictor):
    with pytest.raises(ImageError, match=r"image 0 of the call.*at least one pixel"):
        predictor([np.zeros((0, 64, 3), np.uint8)])


def test_a_strip_that_would_explode_the_memory_is_refused_before_anything_runs(predictor):
    with pytest.raises(ImageError, match=r"image 0 of the call.*20000x10 px") as caught:
        Predictor(noisy_network(), input_size=256, precision="float32")([np.zeros((10, 20_000, 3), np.uint8)])
    assert caught.value.status is ImageStatus.TOO_LARGE


def test_planning_tells_a_bad_image_without_failing_the_others(predictor):
    sizes = [(60, 80), (0, 5), (90, 120)]
    usable = []
    for hw in sizes:
        try:
            predictor.plan(hw)
        except ImageError:
            continue
        usable.append(hw)
    assert usable == [(60, 80), (90, 120)]
    assert len(predictor([noise(*hw) for hw in usable])) == 2


def test_the_callers_network_stays_as_it_was():
    model = noisy_network().train()
    predictor = Predictor(model, input_size=64, precision="float32")
    before = predictor([noise(60, 80)])[0]
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_alike(predictor([noise(60, 80)])[0], before)


@pytest.mark.parametrize(
    ("scales", "flip", "views"), [((1.0,), False, 1), ((1.0,), True, 2), ((2.0, 1.0, 0.5), True, 6)]
)
def test_views_are_scales_times_mirroring_and_one_view_has_no_spread(model, scales, flip, views):
    predictor = Predictor(model, input_size=64, scales=scales, flip=flip, precision="float32")
    assert predictor.num_views == views
    poses = predictor([noise(60, 80)])[0]
    assert np.isnan(poses.spread_px).all() == (views == 1)
    assert len(poses) > 0


def test_scales_may_come_in_any_order(model):
    image = noise(60, 80)
    up = Predictor(model, input_size=64, scales=(0.5, 1.0, 2.0), precision="float32")([image])[0]
    down = Predictor(model, input_size=64, scales=(2, 1, 0.5), precision="float32")([image])[0]
    assert_alike(up, down)


def test_a_score_network_multiplies_scores_and_reorders_persons(model):
    torch.manual_seed(3)
    score_net = ScoreNet(COCO)
    plain = Predictor(model, input_size=64, precision="float32")([noise(60, 80)])[0]
    rescored = Predictor(model, input_size=64, score_net=score_net, precision="float32")([noise(60, 80)])[0]
    assert sorted(map(tuple, plain.keypoints[:, 0])) == sorted(map(tuple, rescored.keypoints[:, 0]))
    assert (np.diff(rescored.scores) <= 0).all()
    assert not np.allclose(np.sort(plain.scores), np.sort(rescored.scores))


def test_bfloat16_finds_about_the_same_persons(model):
    image = noise(60, 80)
    exact = Predictor(model, input_size=64, precision="float32")([image])[0]
    reduced = Predictor(model, input_size=64, precision="bfloat16")([image])[0]
    assert reduced.keypoints.dtype == np.float32
    assert reduced.scores.max() == pytest.approx(exact.scores.max(), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0}, "input_size is 0"),
        ({"input_size": "256"}, "input_size is '256', expected a whole number of pixels"),
        ({"input_size": 256.5}, r"input_size is 256\.5, expected a whole number"),
        ({"scales": 1}, r"scales is 1, expected numbers such as \(0\.5, 1, 2\)"),
        ({"scales": "1"}, "scales is '1', expected numbers"),
        ({"scales": (1.0, float("nan"))}, "scale nan makes"),
        ({"flip": "no"}, "flip is 'no', expected True or False"),
        ({"scales": (0.5, 2.0)}, "with 1 among them"),
        ({"scales": ()}, "with 1 among them"),
        ({"scales": (1.0, 1.0)}, "different numbers"),
        ({"scales": (1.0, 0.7)}, "scale 0.7 makes inputs of multiples of 44.8 px"),
        ({"scales": (1.0, -0.5)}, "scale -0.5"),
        ({"scales": (0.5, 1.0), "protocol": MMPOSE}, "mmpose is defined for one scale"),
        ({"nms_threshold": 1.5}, "nms_threshold is 1.5"),
        ({"nms_threshold": "all"}, "nms_threshold is 'all', expected a share"),
        ({"protocol": "official"}, r"protocol is 'official', expected a TestProtocol.*TEST_PROTOCOLS"),
        ({"precision": "float16"}, "expected one of float32, bfloat16"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ({"max_batch_pixels": 0}, "max_batch_pixels is 0"),
        ({"score_net": ScoreNet(CROWDPOSE)}, "skeleton crowdpose, the pose network for coco"),
        ({"score_net": "score.pth"}, "score_net is 'score.pth', expected a ScoreNet"),
        ({"score_net": torch.nn.Identity()}, "score_net is a Identity, expected a ScoreNet"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(model, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Predictor(model, **settings)


@pytest.mark.parametrize(
    ("thing", "found"), [("dekr_w32", "'dekr_w32'"), (None, "None"), (torch.nn.ReLU(), "a ReLU")]
)
def test_what_is_no_network_is_refused_with_the_way_to_one(thing, found):
    with pytest.raises(
        ConfigurationError, match=rf"model is {found}, expected .*build_model.*posrefine\.load"
    ):
        Predictor(thing)
