"""Visibility, areas, boxes and sides are those of the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.synthetic import HARD, TRAIN, Scene, SceneSpec, render, render_scene
from posrefine.synthetic.anatomy import BODY_JOINTS
from posrefine.synthetic.rasterizer import Faces

_JOINT = {name: index for index, name in enumerate(BODY_JOINTS)}
_ALONE = SceneSpec(people=(1, 1), person_height=(0.5, 0.8))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed, spec) for spec in (TRAIN, HARD) for seed in range(15)]


def _owners_around(scene: Scene, x: float, y: float) -> set[int]:
    """Who is in front in the pixels at and next to a point."""
    column, row = round(x), round(y)
    window = scene.instance_map[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return set(window.reshape(-1).tolist())


def test_visible_joints_lie_on_their_own_person(scenes):
    for scene in scenes:
        for number, person in enumerate(scene.persons, start=1):
            for x, y, flag in person.joints.tolist():
                assert flag < 2 or number in _owners_around(scene, x, y)


def test_joints_behind_others_are_labelled_but_not_visible(scenes):
    behind = 0
    for scene in scenes:
        for number, person in enumerate(scene.persons, start=1):
            for x, y, flag in person.joints.tolist():
                if flag > 0 and number not in _owners_around(scene, x, y):
                    assert flag == 1
                    behind += 1
    assert behind > 100


def test_joints_outside_the_image_are_not_labelled(scenes):
    outside = 0
    for scene in scenes:
        height, width = scene.instance_map.shape
        for person in scene.persons:
            x, y, flag = person.joints.T
            assert ((flag == 0) == ((x == 0) & (y == 0))).all()
            assert (x >= -0.5).all()
            assert (x < width - 0.5).all()
            assert (y >= -0.5).all()
            assert (y < height - 0.5).all()
            outside += int((flag == 0).sum())
    assert outside > 20


def test_area_and_box_are_those_of_the_visible_pixels(scenes):
    for scene in scenes:
        for number, person in enumerate(scene.persons, start=1):
            rows, columns = np.nonzero(scene.instance_map == number)
            assert person.area == len(rows) > 0
            left, top, width, height = person.bbox
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)


def test_the_full_box_holds_the_visible_one(scenes):
    for scene in scenes:
        for person in scene.persons:
            left, top, width, height = person.bbox
            full_left, full_top, full_width, full_height = person.full_bbox
            # A polygon's outline covers up to a pixel more than its corners span.
            assert full_left <= left + 1
            assert full_top <= top + 1
            assert full_left + full_width >= left + width - 1
            assert full_top + full_height >= top + height - 1


def test_the_face_is_seen_from_the_front_and_not_from_behind():
    seen = {"front": [], "behind": []}
    for seed in range(90):
        person = render_scene(seed, _ALONE).persons[0]
        if person.family not in ("standing", "walking", "akimbo"):
            continue
        turn = abs((person.yaw_deg + 180.0) % 360.0 - 180.0)
        side = "front" if turn < 30 else "behind" if turn > 140 else None
        if side is not None:
            seen[side].append(person.joints[_JOINT["nose"], 2] == 2)
    assert np.mean(seen["front"]) > 0.75
    assert len(seen["front"]) >= 5
    assert not any(seen["behind"])
    assert len(seen["behind"]) >= 2


def test_left_is_the_persons_own_left():
    checked = 0
    for seed in range(70):
        person = render_scene(seed, _ALONE).persons[0]
        turn = abs((person.yaw_deg + 180.0) % 360.0 - 180.0)
        if person.family not in ("standing", "walking", "akimbo") or 50 < turn < 130:
            continue
        left, right = person.joints[_JOINT["left_shoulder"]], person.joints[_JOINT["right_shoulder"]]
        if min(left[2], right[2]) > 0:
            assert (left[0] > right[0]) == (turn < 90)
            checked += 1
    assert checked > 8


def test_both_skeletons_come_from_the_same_body(scenes):
    for scene in scenes[:5]:
        for person in scene.persons:
            coco, crowdpose = person.keypoints(COCO), person.keypoints(CROWDPOSE)
            assert coco.shape == (17, 3)
            assert crowdpose.shape == (14, 3)
            for name in ("left_wrist", "right_knee"):
                np.testing.assert_array_equal(
                    coco[COCO.joints.index(name)], crowdpose[CROWDPOSE.joints.index(name)]
                )


def test_every_person_can_be_seen(scenes):
    for scene in scenes:
        assert len(np.unique(scene.instance_map[scene.instance_map > 0])) == len(scene.persons)
        assert all((person.joints[:, 2] > 0).sum() >= 4 for person in scene.persons)


def test_image_size_and_number_of_people_are_those_of_the_spec():
    spec = replace(TRAIN, width_px=200, height_px=144, people=(3, 4))
    for seed in range(8):
        scene = render_scene(seed, spec)
        assert scene.image.shape == (144, 200, 3)
        assert scene.image.dtype == np.uint8
        assert scene.instance_map.shape == (144, 200)
        assert 3 <= len(scene.persons) <= 4


def test_a_label_is_where_the_middle_of_its_part_is_in_indices_of_pixels(monkeypatch):
    """Every body a white ball around its neck, on black: the picture's centre of mass is the label.

    The same indices that warps and augmentation sample at, so half a pixel off would show in every keypoint.
    """
    neck = _JOINT["neck"]
    turns = np.linspace(0, 2 * np.pi, 49)
    rim = np.stack([np.cos(turns), np.sin(turns)], axis=1)

    def balls(arrangement, light, rng) -> list[Faces]:
        joints_px, depths_m = arrangement.project(np.stack([body.joints_m for body in arrangement.bodies]))
        middle = np.broadcast_to(joints_px[0, neck], (48, 2))
        corners = np.stack([middle, middle + 9 * rim[:-1], middle + 9 * rim[1:], middle], axis=1)
        ones = np.ones(48)
        return [Faces(corners, ones * depths_m[0, neck], 255 * np.ones((48, 3)), ones.astype(np.uint8))]

    monkeypatch.setattr(render, "person_faces", balls)
    monkeypatch.setattr(render, "scene_things", lambda *_: [])
    monkeypatch.setattr(render, "cast_shadows", lambda background, *_: np.zeros_like(background))
    monkeypatch.setattr(render, "degrade", lambda image, _: image)
    away = []
    for seed in range(40):
        scene = render.render_scene(seed, _ALONE)
        height, width = scene.instance_map.shape
        x, y, flag = scene.persons[0].joints[neck]
        if flag > 0 and 12 < x < width - 13 and 12 < y < height - 13:
            brightness = scene.image[..., 0].astype(float)
            rows, columns = np.mgrid[:height, :width]
            mean = [(brightness * axis).sum() / brightness.sum() for axis in (columns, rows)]
            away.append(np.array([x, y]) - mean)
    assert len(away) > 20
    assert np.abs(np.mean(away, axis=0)).max() < 0.05
    assert np.abs(away).max() < 0.2
