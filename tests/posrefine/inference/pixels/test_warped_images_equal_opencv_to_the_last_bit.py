"""The warp in tensor operations against OpenCV 4's warpAffine."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.opencv_warp import reference_input, reference_way_back
from support.shared import shared_path

from posrefine.inference.pixels.resize import plan_resize
from posrefine.inference.pixels.warp import warp
from posrefine.test_protocols import OFFICIAL

sizes = st.integers(1, 400)


def warped(image, input_size, scale):
    plan = plan_resize(image.shape[:2], input_size, tuple({1.0, scale}), OFFICIAL)
    index = plan.scales.index(scale)
    pixels = warp(torch.from_numpy(image)[None], plan.input_to_image[index], plan.input_hw[index])
    return pixels[0].permute(1, 2, 0).numpy()


def test_the_reference_is_opencv_4():
    assert cv2.__version__.startswith("4."), "OpenCV 5 interpolates differently"


@settings(max_examples=150, deadline=None)
@given(
    sizes,
    sizes,
    st.sampled_from([64, 128, 192, 256, 320]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(0, 9),
)
def test_noise_of_any_size_is_warped_like_opencv_does(height, width, input_size, scale, seed):
    if max(height, width) > 12 * min(height, width):
        height = width = min(height, width)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(warped(image, input_size, scale), reference_input(image, input_size, scale))


@pytest.mark.parametrize(
    "hw", [(480, 640), (640, 427), (1, 1), (2, 2), (1080, 1920), (3963, 3992), (333, 5000)]
)
@pytest.mark.parametrize("input_size", [512, 640])
def test_common_and_awkward_sizes_are_warped_like_opencv_does(hw, input_size):
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    np.testing.assert_array_equal(warped(image, input_size, 1.0), reference_input(image, input_size, 1.0))


def test_a_photograph_is_warped_like_opencv_does():
    path = sorted(shared_path("data", "coco67", "images").glob("*.jpg"))[0]
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(warped(image, 512, 1.0), reference_input(image, 512, 1.0))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([256, 512, 640, 2048]))
def test_the_way_back_to_the_image_is_opencvs(height, width, input_size):
    if max(height, width) > 5 * min(height, width):
        height = width
    matrix = reference_way_back((height, width), input_size, 1.0)
    plan = plan_resize((height, width), input_size, (1.0,), OFFICIAL, max_input_pixels=2**31)
    ours = plan.input_to_image[0]
    expected = (matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[1, 2])
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-9)


def test_a_batch_is_warped_like_its_images():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 50, 70, 3), np.uint8))
    plan = plan_resize((50, 70), 128, (1.0,), OFFICIAL)
    together = warp(images, plan.input_to_image[0], plan.input_hw[0])
    for image, pixels in zip(images, together, strict=True):
        assert torch.equal(warp(image[None], plan.input_to_image[0], plan.input_hw[0])[0], pixels)
