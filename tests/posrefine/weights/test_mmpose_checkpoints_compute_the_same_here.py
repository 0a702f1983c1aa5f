"""Conversion is right if the converted network computes what mmpose's computes on the same images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from support import hrnet_reference as hrnet
from support import mmpose_reference as mmpose
from support.plain_layers import assert_same_maps, in_double, random_tensors

from posrefine.build import build_model
from posrefine.errors import WeightsError
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.weights import load_weights_bytes


def mmpose_tensors(model, seed=0):
    """A whole mmpose state dict of random tensors for a network of the model's size."""
    spec = model.variant.network
    widths = spec.backbone.branch_channels
    backbone = {f"backbone.{name}": shape for name, shape in hrnet.trunk_shapes(widths[0]).items()}
    head = mmpose.head_shapes(sum(widths), spec.heatmap_channels, model.skeleton.num_joints)
    features = 3 * len(model.skeleton.score_limbs) + model.skeleton.num_joints
    rescore = {f"head.rescore_net.{name}": shape for name, shape in mmpose.rescore_shapes(features).items()}
    return random_tensors(backbone | head | rescore, seed)


def as_published(tensors):
    """The bytes of an mmpose checkpoint: state dict beside a `meta` that holds NumPy arrays."""
    meta = {"epoch": 140, "dataset_meta": {"sigmas": np.ones(17, np.float32), "name": "coco"}}
    stream = io.BytesIO()
    torch.save({"meta": meta, "state_dict": tensors}, stream)
    return stream.getvalue()


def both_networks(model, tensors):
    """Our heatmaps and offsets, and mmpose's heatmaps and negated displacements, on the same random images.

    In double precision, so that what differs is a convention and never rounding.
    """
    model = model.double().eval()
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)).double()
    weights = in_double({name.removeprefix("backbone."): value for name, value in tensors.items()})
    with torch.no_grad():
        heatmap, displacement = mmpose.heatmaps_and_displacements(weights, hrnet.features(weights, images))
        return model(images), (heatmap, -displacement)


@pytest.mark.parametrize(
    ("variant", "skeleton"),
    [("dekr_w32", COCO), ("dekr_w32", CROWDPOSE), ("dekr_w48", COCO)],
    ids=["w32-coco", "w32-crowdpose", "w48-coco"],
)
def test_the_network_computes_what_mmposes_computes(variant, skeleton):
    model = build_model(variant, skeleton=skeleton)
    tensors = mmpose_tensors(model)
    info = load_weights_bytes(model, as_published(tensors), "mmpose.pth")
    ours, theirs = both_networks(model, tensors)
    assert_same_maps(ours, theirs)
    assert (info.format, info.protocol, info.skeleton) == ("mmpose", "mmpose", skeleton.name)
    assert all(name.endswith("regular_matrix") for name in info.not_in_file)
    assert "head.rescore_net.l1.weight" in info.not_used


def test_the_comparison_above_notices_each_convention_got_wrong():
    model = build_model("dekr_w32")
    tensors = mmpose_tensors(model)
    load_weights_bytes(model, as_published(tensors), "mmpose.pth")
    state = model.state_dict()
    layers, identity = "offset_feature_layers", torch.tensor([1.0, 0.0, 0.0, 1.0])
    spoiled = {
        2: ("offset_final_layer.2.weight", torch.neg),
        3: (f"{layers}.3.0.transform_matrix_conv.bias", lambda bias: bias - identity),
        5: (f"{layers}.5.1.transform_matrix_conv.weight", lambda rows: rows[[0, 2, 1, 3]]),
        8: (f"{layers}.8.1.translation_conv.weight", lambda rows: rows.flip(0)),
    }
    model.load_state_dict(state | {name: spoil(state[name]) for name, spoil in spoiled.values()})
    ours, (_, offset) = both_networks(model, tensors)
    difference = (ours.offset - offset).abs().amax(dim=(0, 2, 3)).view(-1, 2).amax(dim=1)
    relative = difference / offset.abs().max()
    assert [joint for joint in range(17) if relative[joint] > 1e-3] == list(spoiled)
    assert relative[[joint for joint in range(17) if joint not in spoiled]].max() < 1e-6


def test_a_crowdpose_checkpoint_is_refused_by_a_coco_network_with_the_first_tensor_named():
    tensors = mmpose_tensors(build_model("dekr_w32", skeleton=CROWDPOSE))
    with pytest.raises(WeightsError) as caught:
        load_weights_bytes(build_model("dekr_w32", skeleton=COCO), as_published(tensors), "crowd.pth")
    message = str(caught.value)
    assert "crowd.pth" in message
    assert "transition_offset.0.weight" in message
    assert "[210, 480, 1, 1]" in message
    assert "[255, 480, 1, 1]" in message
    assert "holds 14 joints: build with skeleton=CROWDPOSE" in message


def test_a_checkpoint_of_mmpose_before_version_1_is_refused_with_its_names_shown():
    names = ("backbone.conv1.weight", "keypoint_head.offset_conv_layers.3.weight")
    tensors = {name: torch.ones(1) for name in names}
    with pytest.raises(WeightsError, match=r"no known format.*keypoint_head\.offset_conv_layers\.3\.weight"):
        load_weights_bytes(build_model("dekr_w32"), as_published(tensors), "old.pth")
