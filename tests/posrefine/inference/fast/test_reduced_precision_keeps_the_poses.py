"""bfloat16 against float32 on photographs: the stated tolerance is an OKS of 0.99 on average.

The weights are stand-ins, so what is found are no persons, and which thirty of hundreds of equally warm cells
are proposed is chance. Therefore poses are compared at the centres that float32 proposes.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from support.shared import shared_path, stand_in_fill

from posrefine.build import build_model
from posrefine.inference.decoding.proposals import centre_proposals
from posrefine.inference.decoding.views import ScaleMaps, joint_positions
from posrefine.inference.fast.prepare import PreparedNetwork
from posrefine.inference.pixels.resize import plan_resize
from posrefine.inference.pixels.warp import warp
from posrefine.metrics.oks import object_keypoint_similarity
from posrefine.skeletons import COCO
from posrefine.test_protocols import OFFICIAL

AREA_OF_BOX = 0.53  # what a person covers of its keypoints' box in COCO, about
MIN_MEAN_OKS = 0.99
MAX_HEAT_ERROR = 0.02  # of its spread, root mean square


def photographs(count):
    paths = sorted(shared_path("data", "coco67", "images").glob("*.jpg"))[:count]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def network_input(image, input_size):
    plan = plan_resize(image.shape[:2], input_size, (1.0,), OFFICIAL)
    return warp(torch.from_numpy(image.copy())[None], plan.input_to_image[0], plan.input_hw[0])


def oks(found, wanted):
    low, high = wanted.min(1), wanted.max(1)
    boxes = np.concatenate([low, high - low], axis=1)
    everything = np.ones(wanted.shape[:2], bool)
    areas = AREA_OF_BOX * boxes[:, 2] * boxes[:, 3]
    return object_keypoint_similarity(found, wanted, everything, boxes, areas, np.array(COCO.sigmas))


def assert_poses_survive(images, input_size):
    model = stand_in_fill(build_model("dekr_w32"))
    exact, reduced = (
        PreparedNetwork(model, torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    similarities = []
    for image in images:
        pixels = network_input(image, input_size)
        wanted, found = exact(pixels), reduced(pixels)
        error = (found.heatmap - wanted.heatmap).square().mean().sqrt()
        assert error < MAX_HEAT_ERROR * wanted.heatmap.std()
        cells = centre_proposals(wanted.heatmap[:, -1], OFFICIAL).cells
        poses = [
            joint_positions(
                ScaleMaps(1.0, maps.heatmap, network.offsets(maps), mirrored=False), cells, COCO, OFFICIAL
            )
            .flatten(0, 2)
            .double()
            .numpy()
            for network, maps in ((reduced, found), (exact, wanted))
        ]
        similarities.append(oks(*poses))
    assert len(np.concatenate(similarities)) > len(images)
    assert np.mean(np.concatenate(similarities)) >= MIN_MEAN_OKS


def test_some_photographs_at_a_small_size():
    assert_poses_survive(photographs(4), input_size=128)


@pytest.mark.slow
def test_all_photographs_at_the_published_size():
    assert_poses_survive(photographs(None), input_size=512)
