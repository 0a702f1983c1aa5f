from dataclasses import replace

import pytest
import torch

import posrefine
from posrefine.build import VARIANTS, build_model
from posrefine.errors import ConfigurationError
from posrefine.modeling.complexity import measure_complexity
from posrefine.skeletons import COCO, CROWDPOSE


@pytest.mark.parametrize(
    ("name", "parameters_m", "multiply_adds_g"), [("dekr_w32", 29.56, 45.4), ("dekr_w48", 65.68, 141.5)]
)
def test_dekr_has_the_published_size(name, parameters_m, multiply_adds_g):
    size = measure_complexity(VARIANTS[name], COCO)
    assert size.parameters / 1e6 == pytest.approx(parameters_m, abs=0.01)
    assert size.multiply_adds / 1e9 == pytest.approx(multiply_adds_g, abs=0.05)


@pytest.mark.parametrize(("dekr", "refined"), [("dekr_w32", "posrefine_w32"), ("dekr_w48", "posrefine_w48")])
def test_context_modules_cost_little(dekr, refined):
    plain, larger = (measure_complexity(VARIANTS[name], COCO) for name in (dekr, refined))
    assert 1.0 < larger.multiply_adds / plain.multiply_adds < 1.035
    assert 1.0 < larger.parameters / plain.parameters < 1.05


def test_multiply_adds_are_those_of_attention_too():
    """Four times the cells cost four times as much everywhere else; attention costs sixteen times as much."""
    refine = replace(VARIANTS["posrefine_w32"].network.refine, dcm=False)
    network = replace(VARIANTS["posrefine_w32"].network, refine=refine)
    variant = replace(VARIANTS["posrefine_w32"], network=network)
    small, large = (measure_complexity(variant, COCO, size).multiply_adds for size in (256, 512))
    keys = (256 // 32) ** 2
    wanted = sum(2 * 32 * 2**level * (64 >> level) ** 2 * keys for level in range(4))
    assert large - 4 * small == (16 - 4) * wanted


def test_the_tiny_network_can_be_trained_on_a_cpu():
    size = measure_complexity(VARIANTS["posrefine_tiny"], COCO)
    assert 2e6 < size.parameters < 3e6
    assert size.multiply_adds < 1.2e9


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE], ids=lambda skeleton: skeleton.name)
def test_every_variant_builds_for_every_skeleton(name, skeleton):
    with torch.device("meta"):
        model = build_model(name, skeleton=skeleton)
    assert model.variant == VARIANTS[name]
    assert model.skeleton == skeleton
    maps = model.eval()(torch.empty(1, 3, 64, 64, device="meta"))
    assert maps.heatmap.shape[1] == skeleton.num_joints + 1
    assert maps.offset.shape[1] == 2 * skeleton.num_joints


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_names_its_source_and_licence(variant):
    assert variant.source
    assert variant.licence
    assert variant.input_size % 64 == 0


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'hrnet'.*dekr_w32.*posrefine_tiny"):
        build_model("hrnet")


def test_the_name_of_a_skeleton_is_none_and_the_way_to_one_is_told():
    with pytest.raises(ConfigurationError, match=r"skeleton is 'coco', expected a Skeleton.*posrefine\.COCO"):
        build_model("posrefine_tiny", skeleton="coco")


def test_dekrs_state_dict_has_its_names_at_the_root():
    with torch.device("meta"):
        names = set(build_model("dekr_w32").state_dict())
    roots = {name.split(".")[0] for name in names}
    assert roots == {
        "conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "stage2", "transition2", "stage3",
        "transition3", "stage4", "transition_heatmap", "head_heatmap", "transition_offset",
        "offset_feature_layers", "offset_final_layer",
    }  # fmt: skip
    assert {
        "layer1.0.downsample.0.weight",
        "transition1.0.0.weight",
        "transition1.1.0.0.weight",
        "transition3.3.0.1.running_var",
        "stage3.3.fuse_layers.2.0.0.0.weight",
        "stage4.2.branches.3.3.bn2.weight",
        "head_heatmap.0.0.conv2.weight",
        "head_heatmap.1.bias",
        "offset_feature_layers.16.1.regular_matrix",
        "offset_feature_layers.0.0.translation_conv.bias",
        "offset_final_layer.16.bias",
    } <= names
    assert not any(name.startswith(("transition2.0.", "transition3.2.")) for name in names)


def test_every_public_name_exists_and_is_listed_in_order():
    assert {"COCO", "CROWDPOSE", "Poses", "Predictor", "build_model", "errors", "load_weights"} <= set(
        posrefine.__all__
    )
    assert len(set(posrefine.__all__)) == len(posrefine.__all__)
    assert all(hasattr(posrefine, name) for name in posrefine.__all__)
