from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import coco as pycoco
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.synthetic import HARD, TRAIN, coco_annotations, render_scene, render_scenes
from posrefine.synthetic.coco import run_length_encoding


@pytest.fixture(scope="module")
def annotation_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "person_keypoints.json"
    path.write_text(json.dumps(coco_annotations(render_scenes(12, 70), COCO)))
    return pycoco.COCO(str(path))


def test_ground_truth_as_detections_has_average_precision_one(annotation_file):
    detections = [
        {"image_id": one["image_id"], "category_id": 1, "keypoints": one["keypoints"], "score": 1.0}
        for one in annotation_file.anns.values()
    ]
    evaluation = COCOeval(annotation_file, annotation_file.loadRes(detections), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert evaluation.stats[5] == pytest.approx(1.0)


def test_segments_have_the_stated_areas_and_boxes(annotation_file):
    for annotation in annotation_file.anns.values():
        rle = annotation_file.annToRLE(annotation)
        assert coco_mask.area(rle) == annotation["area"]
        assert coco_mask.toBbox(rle).tolist() == annotation["bbox"]


def test_joint_counts_match_their_flags(annotation_file):
    for annotation in annotation_file.anns.values():
        flags = annotation["keypoints"][2::3]
        assert set(flags) <= {0, 1, 2}
        assert annotation["num_keypoints"] == sum(flag > 0 for flag in flags)


def test_category_names_the_skeleton(annotation_file):
    category = annotation_file.cats[1]
    assert category["keypoints"] == list(COCO.joints)
    assert min(min(limb) for limb in category["skeleton"]) == 1
    assert max(max(limb) for limb in category["skeleton"]) <= len(COCO.joints)


def test_crowdpose_files_have_their_own_form():
    scene = render_scene(3, HARD)
    content = json.loads(json.dumps(coco_annotations([scene], CROWDPOSE, first_image_id=1000)))
    assert content["images"][0]["id"] == 1000
    assert content["images"][0]["crowdIndex"] == pytest.approx(scene.crowd_index, abs=1e-4)
    for annotation, person in zip(content["annotations"], scene.persons, strict=True):
        assert len(annotation["keypoints"]) == 3 * 14
        assert annotation["bbox"] == pytest.approx(person.full_bbox, abs=0.01)
        assert "area" not in annotation
        assert "segmentation" not in annotation


def test_image_and_annotation_ids_are_unique_and_start_above_zero():
    content = coco_annotations([render_scene(seed, TRAIN) for seed in (1, 2, 3)], COCO)
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


# pycocotools hands NumPy an array class from before NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=60, deadline=None)
def test_run_lengths_decode_to_the_mask(mask):
    rle = run_length_encoding(mask)
    decoded = coco_mask.decode(coco_mask.frPyObjects(rle, *mask.shape))
    np.testing.assert_array_equal(decoded.astype(bool), mask)
