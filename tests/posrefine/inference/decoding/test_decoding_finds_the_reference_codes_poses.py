"""Decoding against the published code's poses on stored maps."""

import numpy as np
import pytest
import torch
from support.poses import assert_same_poses
from support.shared import load_golden, stand_in_score_net

from posrefine.inference.decoding.decoder import Decoder
from posrefine.inference.decoding.views import ScaleMaps
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.inference.pixels.resize import plan_resize
from posrefine.skeletons import COCO
from posrefine.test_protocols import OFFICIAL

CASES = [f"decode_00000000{image}_{kind}" for image in ("1000", "5001") for kind in ("single", "multi")]


def stored_maps(golden):
    maps = []
    for scale in sorted(golden["scales"].tolist(), reverse=True):
        heatmap, offset = golden[f"heatmap_x{scale:g}"], golden[f"offset_x{scale:g}"]
        maps.append(ScaleMaps(scale, as_batch(heatmap), DenseOffsets(as_batch(offset)), mirrored=False))
    return maps


def as_batch(array):
    return torch.from_numpy(array.astype(np.float32))[None]


def decoded(golden, *, rescored, copies=1):
    score_net = stand_in_score_net(COCO) if rescored else None
    height, width = golden["image_hw"].tolist()
    plan = plan_resize((height, width), int(golden["input_size"]), tuple(golden["scales"].tolist()), OFFICIAL)
    decoder = Decoder(COCO, OFFICIAL, float(golden["nms_thre"]), score_net)
    maps = [
        ScaleMaps(
            m.scale,
            m.heatmap.expand(copies, -1, -1, -1),
            DenseOffsets(m.offsets.offset.expand(copies, -1, -1, -1)),
            mirrored=False,
        )
        for m in stored_maps(golden)
    ]
    to_image = torch.tensor([plan.input_to_image[plan.base]] * copies)
    with torch.inference_mode():
        return decoder(maps, plan.input_hw[plan.base], to_image)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rescored", [False, True])
def test_every_stored_pose_is_found_with_its_scores(case, rescored):
    golden = load_golden(case)
    persons = decoded(golden, rescored=rescored)
    found = persons.found[0]
    assert_same_poses(
        persons.keypoints[0][found].numpy(),
        persons.keypoint_scores[0][found].numpy(),
        persons.scores[0][found].numpy(),
        expected_keypoints=golden["keypoints"],
        expected_scores=golden["rescored" if rescored else "scores"],
    )


@pytest.mark.parametrize("case", CASES)
def test_persons_of_every_image_come_best_first(case):
    persons = decoded(load_golden(case), rescored=True, copies=3)
    scores = torch.where(persons.found, persons.scores, -torch.inf)
    assert (scores.diff(dim=1)[persons.found[:, 1:]] <= 0).all()
    assert (persons.found.int().diff(dim=1) <= 0).all()


def test_one_view_has_no_spread_and_several_scales_do():
    single = decoded(load_golden(CASES[0]), rescored=False)
    assert single.spread_px[single.found].isnan().all()
    multi = decoded(load_golden(CASES[1]), rescored=False)
    assert (multi.spread_px[multi.found] >= 0).all()
