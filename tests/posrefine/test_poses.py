"""What a person gets who looks into a result: filtering, indexing, other tools' forms, a picture."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from posrefine import COCO, CROWDPOSE, Pose, Poses
from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton

PX = st.floats(-1e4, 1e4, width=32)
SHARE = st.floats(0, 1, width=32)


@st.composite
def results(draw: st.DrawFn) -> Poses:
    skeleton: Skeleton = draw(st.sampled_from([COCO, CROWDPOSE]))
    persons, joints = draw(st.integers(0, 4)), skeleton.num_joints
    array = lambda shape, values: draw(arrays.arrays(np.float32, shape, elements=values, fill=st.nothing()))  # noqa: E731
    spread = array((persons, joints), st.floats(0, 100, width=32))
    return Poses(
        array((persons, joints, 2), PX),
        array((persons, joints), SHARE),
        -np.sort(-array((persons,), SHARE)),
        spread if draw(st.booleans()) else spread * np.nan,
        skeleton,
    )


def some(*scores: float) -> Poses:
    points = np.arange(len(scores) * 34, dtype=np.float32).reshape(-1, 17, 2)
    return Poses(points, points[..., 0] / 1000, np.array(scores, np.float32), points[..., 0] * np.nan, COCO)


@given(results())
def test_iteration_and_indexing_give_each_person_in_order(poses):
    people = list(poses)
    assert len(people) == len(poses)
    for index, person in enumerate(people):
        assert isinstance(person, Pose)
        for found in (person, poses[index], poses[index - len(poses)], poses[np.int64(index)]):
            np.testing.assert_array_equal(found.keypoints, poses.keypoints[index])
            np.testing.assert_array_equal(found.keypoint_scores, poses.keypoint_scores[index])
            np.testing.assert_array_equal(found.spread_px, poses.spread_px[index])
            np.testing.assert_array_equal(found.box_xywh, poses.boxes_xywh[index])
            assert found.score == poses.scores[index]


@given(results(), st.slices(4))
def test_a_slice_a_list_and_a_mask_give_the_poses_that_they_name(poses, part):
    indices = list(range(len(poses)))[part]
    mask = np.isin(np.arange(len(poses)), indices)
    assert [p.score for p in poses[part]] == [float(poses.scores[i]) for i in indices]
    assert poses[indices] == poses[part]
    assert poses[mask] == poses[sorted(indices)]
    assert poses[part].skeleton is poses.skeleton


@pytest.mark.parametrize(
    "index", [None, "a", 1.5, True, (0, 1), [0.5], ["a"], [[0]], np.zeros((1, 2), bool), np.array(1.0), {0}]
)
def test_what_names_no_person_is_refused_with_what_does(index):
    with pytest.raises(
        TypeError, match=r"poses\[.*\]: expected a number, a slice, a list of numbers or a mask"
    ):
        some(0.5, 0.4)[index]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (2, "person 2 of 2"),
        (-3, "person -3 of 2"),
        ([0, 7], "person 7 of 2"),
        (np.array([-3]), "person -3 of 2"),
        ([True], "a mask of 1 for 2 persons"),
        (np.zeros(3, bool), "a mask of 3 for 2 persons"),
    ],
)
def test_persons_that_are_not_there_are_refused_by_their_number(index, words):
    with pytest.raises(IndexError, match=words):
        some(0.5, 0.4)[index]


def test_poses_without_joints_are_none():
    with pytest.raises(ValueError, match=r"keypoints: expected one joint at least, got \[2, 0, 2\]"):
        Poses(
            np.zeros((2, 0, 2), np.float32), *(np.zeros(shape, np.float32) for shape in ((2, 0), 2, (2, 0)))
        )
    with pytest.raises(ValueError, match="expected one joint at least"):
        Poses.none(0)


@given(results(), SHARE)
def test_filter_keeps_the_persons_of_at_least_that_score_and_their_order(poses, least):
    kept = poses.filter(min_score=least)
    assert kept.scores.tolist() == [score for score in poses.scores.tolist() if score >= least]
    assert kept.filter(min_score=least) == kept
    assert poses.filter() == poses


@given(results())
def test_the_dictionary_is_json_and_holds_every_number(poses):
    plain = json.loads(json.dumps(poses.to_dict(), allow_nan=False))
    assert plain["skeleton"] == poses.skeleton.name
    assert tuple(plain["joints"]) == poses.skeleton.joints
    assert len(plain["persons"]) == len(poses)
    for person, pose in zip(plain["persons"], poses, strict=True):
        assert np.float32(person["score"]) == np.float32(pose.score)
        np.testing.assert_array_equal(np.array(person["keypoints"], np.float32), pose.keypoints)
        np.testing.assert_array_equal(np.array(person["keypoint_scores"], np.float32), pose.keypoint_scores)
        np.testing.assert_array_equal(np.array(person["spread_px"], np.float32), pose.spread_px)
        np.testing.assert_array_equal(np.array(person["bbox"], np.float32), pose.box_xywh)


@given(results(), st.integers(0, 2**40))
def test_coco_results_hold_x_y_and_score_of_every_joint(poses, image_id):
    entries = json.loads(json.dumps(poses.to_coco(image_id=image_id), allow_nan=False))
    assert len(entries) == len(poses)
    for entry, pose in zip(entries, poses, strict=True):
        assert (entry["image_id"], entry["category_id"]) == (image_id, 1)
        assert entry["score"] == pose.score
        triples = np.array(entry["keypoints"], np.float32).reshape(-1, 3)
        np.testing.assert_array_equal(triples[:, :2], pose.keypoints)
        np.testing.assert_array_equal(triples[:, 2], pose.keypoint_scores)


def test_an_image_id_of_a_numpy_array_is_json_too():
    entries = some(0.5).to_coco(image_id=np.array([7], np.int64)[0])
    assert json.loads(json.dumps(entries))[0]["image_id"] == 7


def test_a_score_that_is_no_number_filters_nobody_out_in_silence():
    with pytest.raises(ConfigurationError, match="min_score is nan"):
        some(0.5, 0.1).filter(min_score=float("nan"))


@given(results())
def test_supervision_gets_the_same_points_and_scores(poses):
    sv = pytest.importorskip("supervision")
    found = poses.to_supervision()
    assert isinstance(found, sv.KeyPoints)
    assert len(found) == len(poses)
    np.testing.assert_array_equal(found.xy, poses.keypoints)
    np.testing.assert_array_equal(found.keypoint_confidence, poses.keypoint_scores)
    np.testing.assert_array_equal(found.detection_confidence, poses.scores)


def test_supervisions_own_annotator_draws_them():
    sv = pytest.importorskip("supervision")
    photograph = np.zeros((64, 64, 3), np.uint8)
    drawn = sv.VertexAnnotator(radius=2).annotate(photograph.copy(), some(0.9).to_supervision())
    assert drawn.any()


def test_without_supervision_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigurationError, match="pip install supervision"):
        some(0.9).to_supervision()


@given(results())
def test_they_survive_a_pickle_and_tell_equal_from_other(poses):
    assert pickle.loads(pickle.dumps(poses)) == poses
    if len(poses):
        assert poses[:-1] != poses
    assert poses != "poses"


def test_drawing_shows_the_persons_that_are_good_enough_and_leaves_the_image_alone():
    photograph = np.zeros((48, 64, 3), np.uint8)
    drawn = some(0.9, 0.2).draw(photograph)
    assert isinstance(drawn, Image.Image)
    assert drawn.size == (64, 48)
    assert np.asarray(drawn).any()
    assert not photograph.any()
    assert some(0.9, 0.2).draw(photograph, min_score=0.5) == some(0.9).draw(photograph)
    assert not np.asarray(some(0.9).draw(photograph, min_score=0.95)).any()


def test_drawing_on_a_file_turns_it_upright_as_the_predictor_does(tmp_path):
    turned = Image.new("RGB", (64, 48))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert some(0.9).draw(tmp_path / "turned.jpg").size == (48, 64)


def test_poses_that_know_no_skeleton_are_drawn_when_it_is_named():
    anonymous = Poses(
        *(getattr(some(0.9), n) for n in ("keypoints", "keypoint_scores", "scores", "spread_px"))
    )
    photograph = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(
        ConfigurationError, match=r"poses of 17 joints know no skeleton.*skeleton=posrefine.COCO"
    ):
        anonymous.draw(photograph)
    assert anonymous.draw(photograph, skeleton=COCO) == some(0.9).draw(photograph)
    assert anonymous.to_dict()["joints"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((1, 17, 3))}, r"keypoints: expected \[N, K, 2\], got \[1, 17, 3\]"),
        ({"keypoint_scores": np.zeros((1, 16))}, r"keypoint_scores: expected \[1, 17\], got \[1, 16\]"),
        ({"scores": np.zeros((2,))}, r"scores: expected \[1\], got \[2\]"),
        ({"spread_px": np.zeros((17,))}, r"spread_px: expected \[1, 17\], got \[17\]"),
        ({"skeleton": CROWDPOSE}, r"expected \[N, 14, 2\] for the skeleton crowdpose, got \[1, 17, 2\]"),
    ],
)
def test_arrays_of_other_shapes_are_refused_with_what_was_wanted(change, message):
    fields = {
        name: getattr(some(0.9), name) for name in ("keypoints", "keypoint_scores", "scores", "spread_px")
    }
    with pytest.raises(ValueError, match=message):
        Poses(**{**fields, **change})


def test_an_index_beyond_the_last_person_is_an_index_error():
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"person {index} of 2"):
            some(0.9, 0.2)[index]


@pytest.mark.parametrize(
    ("poses", "text"),
    [
        (some(0.9, 0.25), "<Poses: 2 persons of 17 joints (coco), scores 0.90, 0.25>"),
        (some(0.5), "<Poses: 1 person of 17 joints (coco), scores 0.50>"),
        (Poses.none(14), "<Poses: 0 persons of 14 joints>"),
    ],
)
def test_it_says_what_it_holds(poses, text):
    assert repr(poses) == text


def test_results_need_no_torch():
    script = (
        "import sys, posrefine, posrefine.errors, posrefine.test_protocols; "
        "posrefine.Poses.none(17, posrefine.COCO).to_dict(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
