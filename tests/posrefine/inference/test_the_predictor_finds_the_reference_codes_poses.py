"""The whole way from a photograph to poses, against the published code."""

import cv2
import numpy as np
import pytest
from support.poses import assert_same_poses
from support.shared import load_golden, shared_path, stand_in_fill

from posrefine.build import build_model
from posrefine.inference.predictor import Predictor
from posrefine.skeletons import COCO

SINGLE = [f"poses_dekr_w32_coco_single_{image:012d}" for image in (86, 165, 294, 308)]
MULTI = [
    "poses_dekr_w32_coco_multi_000000000389",
    pytest.param("poses_dekr_w32_coco_multi_000000000294", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def model():
    return stand_in_fill(build_model("dekr_w32", skeleton=COCO))


def photograph(golden):
    path = shared_path("data", "coco67", "images", str(golden["image"]))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def assert_golden(poses, golden):
    assert_same_poses(
        poses.keypoints,
        poses.keypoint_scores,
        poses.scores,
        expected_keypoints=golden["keypoints"],
        expected_scores=golden["scores"],
    )
    assert (np.diff(poses.scores) <= 0).all()
    assert (poses.spread_px >= 0).all()


def test_one_scale_in_one_call_for_all_photographs(model):
    goldens = [load_golden(name) for name in SINGLE]
    predictor = Predictor(model, input_size=256, scales=(1.0,), flip=True, precision="float32")
    images = [photograph(golden) for golden in goldens]
    plans = [predictor.plan(image.shape[:2]) for image in images]
    assert [list(plan.input_hw[0]) for plan in plans] == [
        golden["sizes_hw"][0].tolist() for golden in goldens
    ]
    for poses, golden in zip(predictor(images), goldens, strict=True):
        assert_golden(poses, golden)


@pytest.mark.parametrize("name", MULTI)
def test_three_scales(model, name):
    golden = load_golden(name)
    predictor = Predictor(model, input_size=256, scales=(0.5, 1.0, 2.0), flip=True, precision="float32")
    image = photograph(golden)
    assert np.array_equal(predictor.plan(image.shape[:2]).input_hw, golden["sizes_hw"])
    assert_golden(predictor([image])[0], golden)
