from __future__ import annotations

import numpy as np
import pytest

from posrefine.synthetic.camera import Camera
from posrefine.synthetic.rasterizer import Faces, rasterize


def _camera(pitch: float = 0.2, roll: float = 0.0) -> Camera:
    return Camera(width_px=320, height_px=240, focal_px=400.0, height_m=1.5, pitch_rad=pitch, roll_rad=roll)


def _square(left: float, top: float, size: float) -> list[list[float]]:
    return [[left, top], [left + size, top], [left + size, top + size], [left, top + size]]


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.2, 0.0), (0.15, 0.3), (-0.1, -0.2)])
def test_far_ground_meets_the_horizon(pitch, roll):
    camera = _camera(pitch, roll)
    far = camera.project(camera.to_camera(np.array([[-3e5, 0.0, -1e6], [2e5, 0.0, -1e6]])))
    left, right = camera.horizon_px
    for x, y in far.tolist():
        assert y == pytest.approx(left + (right - left) * x / camera.width_px, abs=0.01)


def test_nearer_ground_lies_lower_in_the_image_and_nearer_things_look_larger():
    camera = _camera()
    near, far = (
        camera.project(camera.to_camera(np.array([[0, 0, z], [0, 1.7, z]], float))) for z in (-3.0, -9.0)
    )
    assert near[0, 1] > far[0, 1]
    assert near[0, 1] - near[1, 1] > 2.0 * (far[0, 1] - far[1, 1])


def test_nearer_quads_hide_farther_ones_whatever_their_order():
    corners = np.array([_square(10, 10, 20), _square(20, 20, 20)], float)
    colours = np.array([[200.0, 0, 0], [0, 200.0, 0]])
    for order in ([0, 1], [1, 0]):
        depths = np.array([1.0, 2.0])[order]
        faces = Faces(corners[order], depths, colours[order], np.array([1, 2], np.uint8)[order])
        owners = rasterize(faces, 64, 64).instance_map()
        assert owners[25, 25] == 1
        assert owners[35, 35] == 2
        assert owners[5, 5] == 0


def test_half_covered_pixels_mix_with_what_lies_behind():
    # Sub-pixel columns 20..40 are covered (Pillow fills the last corner's column too): half of pixel 20.
    faces = Faces(
        np.array([_square(10, 10, 10)], float),
        np.array([1.0]),
        np.array([[255.0, 255.0, 255.0]]),
        np.ones(1, np.uint8),
    )
    image = rasterize(faces, 40, 40).over(np.zeros((40, 40, 3), np.uint8))
    assert image[15, 15].tolist() == [255, 255, 255]
    assert 100 < image[15, 20, 0] < 155
    assert image[15, 22].tolist() == [0, 0, 0]


def test_the_background_stays_where_nothing_is_painted():
    background = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    faces = Faces(
        np.array([_square(2, 2, 4)], float), np.array([1.0]), np.zeros((1, 3)), np.ones(1, np.uint8)
    )
    painted = rasterize(faces, 32, 32).over(background)
    np.testing.assert_array_equal(painted[10:], background[10:])
