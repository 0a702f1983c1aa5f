"""Whatever a checkpoint holds, it is loaded wholly, or refused by name and changes nothing."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import mmpose_reference as mmpose
from support.plain_layers import random_tensors
from torch import Tensor, nn

from posrefine.build import VARIANTS
from posrefine.errors import WeightsError
from posrefine.modeling.hrnet import HRNetSpec, StageSpec
from posrefine.modeling.network import NetworkSpec, PoseNetwork
from posrefine.modeling.refine import RefineSpec
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO
from posrefine.weights import WeightsInfo, load_weights_bytes
from posrefine.weights.fit import fit
from posrefine.weights.readers.reading import Reading

# torch warns that it will not hold quantized tensors for ever; files that do stay.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FILE = "odd.pth"
LAST = "head.displacement_conv_layers.3.weight"


def smallest_network() -> PoseNetwork:
    """A whole DEKR of few numbers, since many of it are loaded here."""
    backbone = HRNetSpec(8, 8, bottlenecks=1, bottleneck_planes=8, stages=(StageSpec(1, 1),) * 3)
    spec = NetworkSpec(backbone, RefineSpec(dcm=False, hsm=False), heatmap_channels=8)
    torch.manual_seed(1)
    return PoseNetwork(replace(VARIANTS["dekr_w32"], network=spec), COCO)


def mmpose_state(network: PoseNetwork) -> dict[str, Tensor]:
    """A whole mmpose file for that network, its trunk as it is."""
    heads = ("head_", "offset_", "transition_heatmap", "transition_offset")
    trunk = {
        f"backbone.{name}": value
        for name, value in network.state_dict().items()
        if not name.startswith(heads)
    }
    head = mmpose.head_shapes(sum(network.variant.network.backbone.branch_channels), 8, 17)
    rescore = {f"head.rescore_net.{name}": shape for name, shape in mmpose.rescore_shapes(74).items()}
    return trunk | random_tensors(head | rescore, seed=3)


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of these tensors experimental
        torch.save(content, stream)
    return stream.getvalue()


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(module: nn.Module, before: dict[str, Tensor]) -> None:
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def attempt(module: nn.Module, data: bytes, *, strict: bool = True) -> tuple[WeightsInfo | None, str]:
    """What loading gave, or None and what it complained about; any other error is the test's end."""
    try:
        return load_weights_bytes(module, data, FILE, strict=strict), ""
    except WeightsError as error:
        return None, str(error)


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    return smallest_network()


def quantized(values: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to do without them; files that hold them stay
        return torch.quantize_per_tensor(values, 0.1, 0, torch.qint8)


def compressed() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls these experimental
        return torch.eye(3).to_sparse_csr()


ODD_TENSORS = {
    "sparse": (torch.eye(3).to_sparse(), "sparse"),
    "compressed": (compressed(), "sparse"),
    "quantized": (quantized(torch.ones(2, 2)), r"quantized \(qint8\)"),
    "complex": (torch.ones(2, dtype=torch.complex64), "of type complex64"),
    "float8": (torch.ones(2).to(torch.float8_e4m3fn), "of type float8_e4m3fn"),
    "meta": (torch.empty(3, 4, device="meta"), r"meta device, shape \[3, 4\]"),
    "expanded": (torch.ones(1).expand(1 << 40), "repeats 1 stored numbers"),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_that_are_no_plain_numbers_are_refused_with_their_name_and_kind(network, kind):
    odd, words = ODD_TENSORS[kind]
    before = copied(network)
    with pytest.raises(WeightsError, match=rf"weights odd\.pth: tensor stage4\.0\.weight is .*{words}"):
        load_weights_bytes(network, pickled(before | {"stage4.0.weight": odd}), FILE)
    assert_same(network, before)


def test_a_quantized_weight_in_the_middle_leaves_the_network_as_it_was(network):
    """Of the right name and shape, where only the copy itself would stumble."""
    before = copied(network)
    name = "stage3.0.branches.0.0.conv1.weight"
    odd = quantized(before[name])
    content = {key: torch.zeros_like(value) for key, value in before.items()} | {name: odd}
    with pytest.raises(WeightsError, match=rf"tensor {name} is quantized"):
        load_weights_bytes(network, pickled(content), FILE)
    assert_same(network, before)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("conv1.weight", lambda value: value.long(), r"conv1\.weight holds int64, the network wants float32"),
        ("bn1.bias", lambda value: value > 0, r"bn1\.bias holds bool"),
        (
            "conv2.weight",
            lambda value: value.double() + 1e39,
            r"conv2\.weight reaches 1e\+39, too much for .*float32",
        ),
        (
            "bn2.running_var",
            lambda value: value - 2,
            r"bn2\.running_var falls to -1; a variance is never below 0",
        ),
        ("bn2.running_mean", lambda value: value / 0, r"bn2\.running_mean holds NaN"),
        ("bn1.num_batches_tracked", lambda value: value + 1e30, r"bn1\.num_batches_tracked reaches 1e\+30"),
    ],
)
def test_numbers_that_a_network_cannot_compute_with_are_refused_by_name(network, name, change, words):
    before = copied(network)
    with pytest.raises(WeightsError, match=r"weights odd\.pth: tensor " + words):
        load_weights_bytes(network, pickled(before | {name: change(before[name])}), FILE)
    assert_same(network, before)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 7e4), (torch.bfloat16, 3.4e38)])
def test_a_weight_that_would_be_infinite_in_a_narrower_network_is_refused_by_name(dtype, largest):
    network = smallest_network().to(dtype)
    tensors = {name: value.float() for name, value in copied(network).items()}
    load_weights_bytes(network, pickled(tensors), FILE)
    tensors["conv2.weight"][0, 0, 0, 0] = -largest
    with pytest.raises(WeightsError, match=rf"conv2\.weight reaches -{largest:g}".replace("+", r"\+")):
        load_weights_bytes(network, pickled(tensors), FILE)


MALFORMED_MMPOSE = {
    "last layer without dimensions": ({LAST: torch.tensor(1.0)}, r"layers\.3\.weight has shape \[\]"),
    "last layer without rows": ({LAST: torch.ones(0, 2, 1, 1)}, r"has shape \[0, 2, 1, 1\]"),
    "an odd number of rows": ({LAST: torch.ones(3, 2, 1, 1)}, r"wanted \[2K, C, 1, 1\]"),
    "rows that joints cannot share": (
        {LAST: torch.ones(4, 2, 1, 1), "head.displacement_conv_layers.1.norm.weight": torch.ones(3)},
        r"1\.norm\.weight has shape \[3\], wanted equally many rows for each of 2 joints",
    ),
    "too few rows of an affine map": (
        {
            LAST: torch.ones(4, 2, 1, 1),
            "head.displacement_conv_layers.1.transform_matrix_conv.bias": torch.ones(8),
        },
        r"transform_matrix_conv\.bias has shape \[8\], wanted 6 rows for each of 2 joints",
    ),
    "a layer that is no number": (
        {LAST: torch.ones(34, 15, 1, 1), "head.displacement_conv_layers.x.bias": torch.ones(2)},
        "tensors do not match the network's",
    ),
    "two names for one tensor": (
        {LAST: torch.ones(34, 2, 1, 1), "bn1.bias": torch.ones(8), "backbone.bn1.bias": torch.ones(8)},
        r"backbone\.bn1\.bias becomes bn1\.bias, which another one is already",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED_MMPOSE)
def test_malformed_mmpose_files_are_refused_with_file_tensor_and_what_was_wanted(network, kind):
    tensors, words = MALFORMED_MMPOSE[kind]
    with pytest.raises(WeightsError, match=rf"weights odd\.pth: .*{words}"):
        load_weights_bytes(network, pickled(tensors), FILE)


@pytest.mark.parametrize(
    "first", [torch.tensor(1.0), torch.ones(256), torch.ones(256, 60), torch.ones(2, 2, 2)]
)
@pytest.mark.parametrize("prefix", ["", "head.rescore_net."])
def test_malformed_rescoring_networks_are_refused_too(prefix, first):
    tensors = {prefix + name: value for name, value in ScoreNet(COCO).state_dict().items()}
    if prefix:
        tensors[LAST] = torch.ones(34, 2, 1, 1)
    with pytest.raises(WeightsError, match=r"odd\.pth: tensor l1\.weight has shape"):
        load_weights_bytes(ScoreNet(COCO), pickled(tensors | {prefix + "l1.weight": first}), FILE)


def test_a_width_without_dimensions_does_not_keep_the_advice_from_being_given(network):
    tensors = copied(network) | {"transition1.0.0.weight": torch.tensor(1.0)}
    with pytest.raises(WeightsError, match=r"transition1\.0\.0\.weight has shape \[\], the network wants"):
        load_weights_bytes(network, pickled(tensors), FILE)


def numbers(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.ones(shape).to(dtype)


odd_shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)
odd_values = st.one_of(
    st.builds(numbers, odd_shapes, st.sampled_from([torch.float32, torch.int64, torch.bool, torch.float64])),
    st.sampled_from([odd for odd, _ in ODD_TENSORS.values()]),
    st.none(),
    st.text(max_size=3),
    st.integers(),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
odd_names = st.one_of(
    st.builds(
        "{}{}.{}".format,
        st.sampled_from(
            ["", "backbone.", "module.", "head.heatmap_conv_layers.", "head.displacement_conv_layers."]
        ),
        st.sampled_from(
            ["0", "1", "2", "3", "7", "-1", "x", "0.conv", "1.transform_matrix_conv", "2.norm", "l1"]
        ),
        st.sampled_from(["weight", "bias", "", "regular_matrix", "running_var"]),
    ),
    st.sampled_from(["l1.weight", "conv1.weight", "stage4.0", "state_dict", "size.weight", "spread.weight"]),
    st.text(max_size=5),
    st.integers(),
    st.tuples(st.integers()),
)


@settings(max_examples=80)
@given(
    content=st.dictionaries(odd_names, odd_values, max_size=6),
    sure=st.sampled_from([{}, {LAST: torch.ones(34, 2, 1, 1)}, {LAST: torch.ones(4, 1, 1, 1)}]),
    wrapped=st.booleans(),
    strict=st.booleans(),
    into_score=st.booleans(),
)
def test_made_up_state_dicts_end_in_a_weights_error_that_names_the_file(
    network, content, sure, wrapped, strict, into_score
):
    """With strict=False a file of odd names may fill a network with nothing, which its info then says."""
    module = ScoreNet(COCO) if into_score else network
    before = copied(module)
    inner = sure | content
    data = pickled({"state_dict": inner} if wrapped else inner)
    info, complaint = attempt(module, data, strict=strict)
    assert complaint.startswith("weights odd.pth: ") if info is None else not strict and info.not_in_file
    assert_same(module, before)


@pytest.fixture(scope="module")
def whole_files(network) -> list[dict[str, Tensor]]:
    return [dict(network.state_dict()), mmpose_state(network)]


@settings(max_examples=40)
@given(
    which=st.integers(0, 1),
    position=st.integers(0, 10_000),
    change=st.sampled_from(["lost", "odd", "transposed", "stretched", "integers", "infinite"]),
    odd=odd_values,
)
def test_one_wrong_tensor_in_a_whole_file_is_refused_and_changes_nothing(
    whole_files, network, which, position, change, odd
):
    tensors = dict(whole_files[which])
    name = sorted(tensors)[position % len(tensors)]
    value = tensors[name]
    tensors[name] = {
        "lost": None,
        "odd": odd,
        "transposed": value.transpose(0, -1) if value.ndim else value,
        "stretched": value[None],
        "integers": value.long(),
        "infinite": value + torch.inf,
    }[change]
    before = copied(network)
    info, complaint = attempt(network, pickled(tensors))
    if info is None:
        assert complaint.startswith("weights odd.pth: ")
        assert_same(network, before)
    else:
        assert all(bool(torch.isfinite(loaded).all()) for loaded in network.state_dict().values())
        network.load_state_dict(before)


def test_an_unused_tensor_is_not_read_however_it_is_made(network):
    """What has no place in the network is named, and costs nothing."""
    tensors = copied(network)
    reading = Reading("dekr", "official", tensors | {"extra": torch.full((3,), torch.nan)})
    assert fit(network, reading, FILE, strict=False).not_used == ("extra",)
