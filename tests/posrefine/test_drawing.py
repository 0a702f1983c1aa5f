"""Drawing skeletons over a photograph."""

from dataclasses import replace

import numpy as np
import pytest

from posrefine.drawing import draw_annotated, draw_poses, draw_spread
from posrefine.poses import Poses
from posrefine.skeletons import COCO, CROWDPOSE


def one_person(score: float = 0.9) -> Poses:
    rng = np.random.default_rng(0)
    return Poses(
        keypoints=rng.uniform(20, 180, (1, 17, 2)).astype(np.float32),
        keypoint_scores=np.full((1, 17), 0.5, np.float32),
        scores=np.array([score], np.float32),
        spread_px=np.full((1, 17), np.nan, np.float32),
    )


def test_every_joint_is_marked_in_its_side_colour_and_the_input_stays_untouched():
    grey = np.full((200, 200, 3), 127, np.uint8)
    person = one_person()
    drawn = draw_poses(grey, person, COCO)
    assert (grey == 127).all()
    nose_x, nose_y = person.keypoints[0, 0].astype(int)
    assert tuple(drawn[nose_y, nose_x]) == (120, 220, 70)


def test_persons_and_joints_below_their_thresholds_are_left_out():
    grey = np.full((200, 200, 3), 127, np.uint8)
    assert (draw_poses(grey, one_person(score=0.1), COCO, min_score=0.2) == grey).all()
    assert (draw_poses(grey, one_person(), COCO, min_keypoint_score=0.6) == grey).all()
    assert (draw_poses(grey, one_person(), COCO) != grey).any()


def test_no_persons_give_the_same_picture():
    grey = np.full((20, 30, 3), 127, np.uint8)
    assert (draw_poses(grey, Poses.none(17), COCO) == grey).all()


def test_another_skeleton_is_refused_with_both_joint_counts():
    with pytest.raises(ValueError, match=r"17 joints.*crowdpose.*14"):
        draw_poses(np.zeros((9, 9, 3), np.uint8), one_person(), CROWDPOSE)


def test_annotated_persons_are_white_and_joints_without_a_label_are_left_out():
    grey = np.full((200, 200, 3), 127, np.uint8)
    keypoints = one_person().keypoints
    labelled = np.ones((1, 17), bool)
    drawn = draw_annotated(grey, keypoints, labelled, COCO)
    nose_x, nose_y = keypoints[0, 0].astype(int)
    assert tuple(drawn[nose_y, nose_x]) == (255, 255, 255)
    assert (draw_annotated(grey, keypoints, ~labelled, COCO) == grey).all()


def test_rings_are_as_large_as_the_disagreement_and_absent_where_it_is_unknown():
    grey = np.full((400, 400, 3), 127, np.uint8)
    person = one_person()
    assert (draw_spread(grey, person) == grey).all()
    spread = np.full((1, 17), np.nan, np.float32)
    spread[0, 0] = 30.0
    ringed = draw_spread(grey, replace(person, spread_px=spread))
    ys, xs = np.nonzero((ringed != grey).any(axis=2))
    centre = person.keypoints[0, 0]
    distance = np.hypot(xs - centre[0], ys - centre[1])
    assert distance.min() > 27
    assert distance.max() < 33
    assert (draw_spread(grey, replace(person, spread_px=spread), min_score=0.95) == grey).all()


def test_persons_with_scores_below_zero_are_drawn_unless_a_threshold_says_otherwise():
    grey = np.full((200, 200, 3), 127, np.uint8)
    assert (draw_poses(grey, one_person(score=-0.5), COCO) != grey).any()
    assert (draw_poses(grey, one_person(score=-0.5), COCO, min_score=0.0) == grey).all()
