"""DEKR's, ImageNet's and rescoring checkpoints: stand-in tensors under the true names, through real files."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from support import dekr_reference as dekr
from support import hrnet_reference as hrnet
from support import mmpose_reference as mmpose
from support.plain_layers import assert_same_maps, in_double, random_tensors

from posrefine.build import build_model
from posrefine.errors import WeightsError
from posrefine.modeling.score_net import ScoreNet, score_features
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton
from posrefine.weights import ZooEntry, load_weights, load_weights_bytes, zoo

HEADS = ("head_", "offset_", "transition_heatmap", "transition_offset")
IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def pickled(content, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def dekr_tensors(width: int, skeleton: Skeleton) -> dict[str, torch.Tensor]:
    """A whole official state dict of random tensors."""
    head = dekr.head_shapes(15 * width, heatmap_channels=width, joints=skeleton.num_joints)
    return random_tensors(hrnet.trunk_shapes(width) | head, seed=5)


@pytest.fixture(scope="module")
def trained():
    """A DEKR network whose every tensor differs from a fresh one's."""
    model = build_model("dekr_w32").eval()
    model.load_state_dict(dekr_tensors(32, COCO))
    return model


@pytest.mark.parametrize(
    ("width", "skeleton"),
    [(32, COCO), (32, CROWDPOSE), (48, COCO)],
    ids=["w32-coco", "w32-crowdpose", "w48-coco"],
)
def test_an_official_dekr_file_computes_what_dekrs_code_computes(width, skeleton, tmp_path):
    """In PyTorch's old container, which the official files are in."""
    tensors = dekr_tensors(width, skeleton)
    path = tmp_path / f"pose_dekr_hrnetw{width}_{skeleton.name}.pth"
    path.write_bytes(pickled(tensors, _use_new_zipfile_serialization=False))
    model = build_model(f"dekr_w{width}", skeleton=skeleton).eval()
    info = load_weights(model, path)
    assert (info.format, info.protocol) == ("dekr", "official")
    assert (info.skeleton, info.licence) == (skeleton.name, None)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.origin == str(path)
    assert (info.not_in_file, info.not_used) == ((), ())
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())
    weights, images = in_double(tensors), IMAGES.double()
    with torch.no_grad():
        ours = model.double()(images)
        theirs = dekr.heatmaps_and_offsets(weights, hrnet.features(weights, images))
    assert_same_maps(ours, theirs)


@pytest.mark.parametrize("prefix", ["", "module.", "1.", "module.1."])
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "under-state_dict"])
def test_training_wrappers_around_a_dekr_checkpoint_are_taken_off(prefix, wrapped):
    wanted = ScoreNet(COCO)
    tensors = {prefix + name: value for name, value in of_dekr(wanted).items()}
    content = {"epoch": 140, "best_perf": 0.68, "state_dict": tensors} if wrapped else tensors
    model = ScoreNet(COCO)
    load_weights_bytes(model, pickled(content), "final_rescore_coco_kpt.pth")
    assert torch.equal(model.l1.weight, wanted.l1.weight)


def test_a_dekr_checkpoint_makes_a_posrefine_network_compute_what_dekr_computes(trained):
    model = build_model("posrefine_w32").eval()
    info = load_weights_bytes(model, pickled(trained.state_dict()), "dekr.pth")
    with torch.no_grad():
        ours, theirs = model(IMAGES), trained(IMAGES)
    assert torch.equal(ours.heatmap, theirs.heatmap)
    assert torch.equal(ours.offset, theirs.offset)
    refinement = {name for name in model.state_dict() if name.startswith("refine.")}
    assert set(info.not_in_file) == refinement
    assert refinement
    gains = [name for name, _ in model.named_parameters() if name.endswith("gain.weight")]
    assert len(gains) == 12


def test_a_file_with_part_of_the_refinement_is_refused():
    model = build_model("posrefine_tiny")
    tensors = model.state_dict()
    lost = next(name for name in tensors if name.startswith("refine.2."))
    with pytest.raises(WeightsError, match=f"1 missing \\({lost}\\)"):
        load_weights_bytes(model, pickled({n: t for n, t in tensors.items() if n != lost}), "half.pth")


@pytest.mark.parametrize(
    "classifier",
    [
        (
            "incre_modules.0.0.conv1.weight",
            "downsamp_modules.0.0.weight",
            "final_layer.0.weight",
            "classifier.bias",
        ),
        ("head.0.0.0.conv1.weight", "head.1.0.0.weight", "head.2.0.weight", "head.3.bias"),
    ],
    ids=["authors", "mmpose"],
)
def test_an_imagenet_checkpoint_makes_the_trunk_compute_what_hrnets_computes(classifier):
    tensors = random_tensors(hrnet.trunk_shapes(32), seed=6)
    trunk = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    model = build_model("posrefine_w32").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    content = trunk | {name: torch.ones(4) for name in classifier}
    info = load_weights_bytes(model, pickled(content), "hrnet_w32.pth")
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in trunk.items())
    assert all(torch.equal(after[n], v) for n, v in before.items() if n.startswith((*HEADS, "refine.")))
    assert info.format == "imagenet"
    assert info.skeleton is None
    assert info.not_used == classifier
    assert not set(info.not_in_file) & set(trunk)
    with torch.no_grad():
        ours = model.double().branches(IMAGES.double())
        theirs = hrnet.branches(in_double(trunk), IMAGES.double())
    assert_same_maps(ours, theirs)


def test_an_imagenet_checkpoint_of_another_width_is_refused_with_the_width_to_build():
    trunk = random_tensors(hrnet.trunk_shapes(32), seed=6)
    with pytest.raises(
        WeightsError, match=r"transition1\.0\.0\.weight has shape \[32, 256, 3, 3\].*w32 variant"
    ):
        load_weights_bytes(build_model("dekr_w48"), pickled(trunk), "hrnet_w32.pth")


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE], ids=["coco", "crowdpose"])
def test_mmposes_rescoring_network_predicts_the_same_for_the_same_poses(skeleton, monkeypatch):
    """Inside a whole checkpoint, and as the bare file, which only its checksum tells from DEKR's."""
    features = 3 * len(skeleton.score_limbs) + skeleton.num_joints
    tensors = random_tensors(mmpose.rescore_shapes(features), seed=7)
    poses = 200 * torch.rand(50, skeleton.num_joints, 2, generator=torch.Generator().manual_seed(8))
    poses[0] = 5.0  # no extent: the unit of length is held at 1
    scores = torch.rand(50, skeleton.num_joints, generator=torch.Generator().manual_seed(9))
    wanted = mmpose.rescore(tensors, skeleton.name, skeleton.joints, poses, scores)

    inside = {f"head.rescore_net.{name}": value for name, value in tensors.items()}
    whole = pickled({"state_dict": {"head.displacement_conv_layers.3.weight": torch.ones(1)} | inside})
    bare = pickled(tensors)
    digest = hashlib.sha256(bare).hexdigest()
    entry = ZooEntry("test:rescore", "", digest[:8], "Apache-2.0", "score_net", skeleton.name, None, "mmpose")
    monkeypatch.setattr(zoo, "ZOO", {entry.name: entry})
    for data in (whole, bare):
        model = ScoreNet(skeleton)
        info = load_weights_bytes(model, data, "rescore.pth")
        assert info.protocol == "mmpose"
        assert info.skeleton == skeleton.name
        with torch.no_grad():
            features = score_features(
                poses, scores, torch.ones_like(scores), torch.full((50,), 480.0), skeleton
            )
            torch.testing.assert_close(model(features), wanted, atol=1e-5, rtol=1e-5)


def of_dekr(network: ScoreNet) -> dict[str, torch.Tensor]:
    """A rescoring network's tensors as DEKR stores them."""
    return {
        name: value
        for name, value in network.state_dict().items()
        if name not in ("size.weight", "spread.weight")
    }


def test_an_official_rescoring_network_is_taken_as_it_is():
    wanted = ScoreNet(CROWDPOSE)
    model = ScoreNet(CROWDPOSE)
    torch.nn.init.ones_(model.size.weight)
    torch.nn.init.ones_(model.spread.weight)
    info = load_weights_bytes(model, pickled(of_dekr(wanted)), "final_rescore_crowd_pose_kpt.pth")
    assert torch.equal(model.l1.weight, wanted.l1.weight)
    assert not model.size.weight.any(), "DEKR's networks know no sizes"
    assert not model.spread.weight.any(), "nor spreads"
    assert (info.format, info.protocol, info.skeleton) == ("rescore", "official", "crowdpose")


def test_a_rescoring_network_is_refused_where_a_pose_network_is_wanted_and_the_other_way_round(trained):
    with pytest.raises(WeightsError, match="is a rescoring network"):
        load_weights_bytes(build_model("posrefine_tiny"), pickled(ScoreNet(COCO).state_dict()), "r.pth")
    with pytest.raises(WeightsError, match="is a pose network"):
        load_weights_bytes(ScoreNet(COCO), pickled(trained.state_dict()), "p.pth")
    mmpose_without = {"head.displacement_conv_layers.3.weight": torch.ones(1)}
    with pytest.raises(WeightsError, match="holds no rescoring network"):
        load_weights_bytes(ScoreNet(COCO), pickled(mmpose_without), "p.pth")


def test_a_network_trained_with_another_sampling_grid_is_refused(trained):
    name = "offset_feature_layers.4.1.regular_matrix"
    tensors = trained.state_dict()
    tensors[name] = tensors[name].flip(0)
    with pytest.raises(WeightsError, match=name):
        load_weights_bytes(build_model("dekr_w32"), pickled(tensors), "grid.pth")


def test_numpy_values_beside_the_tensors_do_not_stop_a_checkpoint_but_code_does(tmp_path):
    tensors = ScoreNet(COCO).state_dict()
    meta = {"sigmas": np.ones(17, np.float32), "ap": np.float64(0.68), "names": np.array([1, 2])}
    load_weights_bytes(ScoreNet(COCO), pickled({"meta": meta, "state_dict": tensors}), "meta.pth")

    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    with pytest.raises(WeightsError, match=r"refused, because it holds more than tensors.*open"):
        load_weights_bytes(ScoreNet(COCO), pickled({"meta": Touch(), "state_dict": tensors}), "evil.pth")
    assert not (tmp_path / "touched").exists()
