"""Our own files: the same bytes for the same network, nothing half-written, nothing half-loaded."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import subprocess
import sys
import warnings

import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st

from posrefine.build import build_model
from posrefine.errors import ConfigurationError, WeightsError
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.weights import load_weights, load_weights_bytes, save_weights
from posrefine.weights.checkpoint import decode_checkpoint, encode_safetensors

METADATA = {
    "variant": "posrefine_tiny", "skeleton": "crowdpose", "protocol": "mmpose", "data": "rendered",
    "licence": "Apache-2.0",
}  # fmt: skip


def pickled(content, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


SHORT = {"a": torch.arange(300.0), "b": torch.arange(4)}
SHORT_FILES = {
    "safetensors": encode_safetensors(SHORT, METADATA),
    "zip": pickled(SHORT),
    "legacy": pickled(SHORT, _use_new_zipfile_serialization=False),
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_model("posrefine_tiny", skeleton=CROWDPOSE)


def test_a_saved_network_comes_back_with_every_tensor_and_what_was_said_about_it(network, tmp_path):
    path = tmp_path / "new" / "tiny.safetensors"
    digest = save_weights(network, path, METADATA)
    other = build_model("posrefine_tiny", skeleton=CROWDPOSE)
    info = load_weights(other, path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())
    assert info.sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (info.format, info.protocol, info.skeleton, info.licence) == (
        "posrefine", "mmpose", "crowdpose", "Apache-2.0",
    )  # fmt: skip
    assert METADATA.items() <= info.metadata.items()
    assert (info.not_in_file, info.not_used) == ((), ())
    assert [file.name for file in path.parent.iterdir()] == ["tiny.safetensors"]


def test_other_tools_can_open_the_file(network, tmp_path):
    save_weights(network, tmp_path / "tiny.safetensors", METADATA)
    with safetensors.safe_open(tmp_path / "tiny.safetensors", "pt") as file:
        assert METADATA.items() <= file.metadata().items()
        assert set(file.keys()) == set(network.state_dict())
        assert torch.equal(file.get_tensor("conv1.weight"), network.conv1.weight)


def test_another_process_writes_the_same_bytes():
    """The order of a hash map differs from process to process; the file must not."""
    program = (
        "import hashlib, torch; from posrefine.weights.checkpoint import encode_safetensors as encode;"
        "t = {n: torch.arange(5.0) for n in 'zyxab'}; m = {k: k for k in 'qwertyuiop'};"
        "print(hashlib.sha256(encode(t, m)).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(2)]
    tensors = {name: torch.arange(5.0) for name in "bazyx"}
    mine = hashlib.sha256(encode_safetensors(tensors, {key: key for key in "poiuytrewq"})).hexdigest()
    assert [run.stdout.strip() for run in runs] == [mine, mine]


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.lists(st.floats(width=32), max_size=5), max_size=4),
    st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda key: key != "__metadata__"), st.text()),
)
def test_what_is_encoded_is_decoded(values, metadata):
    tensors = {name: torch.tensor(numbers) for name, numbers in values.items() if name != "__metadata__"}
    checkpoint = decode_checkpoint(encode_safetensors(tensors, metadata), "file")
    assert checkpoint.metadata == metadata
    assert set(checkpoint.tensors) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(checkpoint.tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_half_precision_files_fill_a_float32_network(tmp_path):
    score = ScoreNet(COCO)
    save_weights(ScoreNet(COCO).half(), tmp_path / "half.safetensors")
    load_weights(score, tmp_path / "half.safetensors")
    assert score.l1.weight.dtype == torch.float32


def test_convolutions_are_stored_in_half_precision_where_asked_and_nothing_else_is(network, tmp_path):
    save_weights(network, tmp_path / "half.safetensors", METADATA, stored_as=torch.float16)
    whole, half = (
        network.state_dict(),
        decode_checkpoint((tmp_path / "half.safetensors").read_bytes(), "half").tensors,
    )
    for name, value in whole.items():
        per_channel = value.numel() == len(value) if value.ndim else True
        wanted = value.half() if value.is_floating_point() and not per_channel else value
        torch.testing.assert_close(half[name], wanted, rtol=0, atol=0)
    kinds = {
        kind: {half[n].dtype for n in half if n.endswith(kind)} for kind in (".gain.weight", "conv1.weight")
    }
    assert kinds == {".gain.weight": {torch.float32}, "conv1.weight": {torch.float16}}
    load_weights(build_model("posrefine_tiny", skeleton=CROWDPOSE), tmp_path / "half.safetensors")


def test_a_weight_too_large_for_half_precision_is_named_and_nothing_is_written(network, tmp_path):
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(WeightsError, match=r"conv1\.weight reaches 1e\+06"):
        save_weights(network, tmp_path / "half.safetensors", stored_as=torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_refused_file_leaves_the_network_as_it_was(network, tmp_path):
    broken = build_model("posrefine_tiny", skeleton=CROWDPOSE)
    with torch.no_grad():
        broken.offset_final_layer.bias[3] = float("nan")
    save_weights(broken, tmp_path / "nan.safetensors")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"offset_final_layer\.1\.bias holds NaN"):
        load_weights(network, tmp_path / "nan.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_missing_and_unknown_names_are_listed_unless_the_caller_said_not_strict(network):
    tensors = dict(network.state_dict()) | {"extra.weight": torch.ones(1)}
    del tensors["bn1.bias"]
    data = encode_safetensors(tensors, {})
    with pytest.raises(WeightsError, match=r"1 missing \(bn1\.bias\); 1 unknown \(extra\.weight\)"):
        load_weights_bytes(network, data, "odd")
    info = load_weights_bytes(network, data, "odd", strict=False)
    assert (info.not_in_file, info.not_used) == (("bn1.bias",), ("extra.weight",))


def test_shapes_must_fit_even_where_names_need_not(network):
    with pytest.raises(WeightsError, match="holds 14 joints: build with skeleton=CROWDPOSE"):
        load_weights_bytes(
            build_model("posrefine_tiny", skeleton=COCO),
            encode_safetensors(network.state_dict(), {}),
            "tiny",
            strict=False,
        )


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"steps": 3}, "'steps': 3 is a int"),
        ({"protocol": "mine"}, "'mine' is unknown; wanted one of official, mmpose"),
        ({"skeleton": "hand"}, "'hand' is unknown; wanted one of coco, crowdpose"),
        ({"skeleton": "crowdpose"}, "says that it is for the skeleton crowdpose, the network is for coco"),
        ({"variant": "dekr_w31"}, "'variant': 'dekr_w31' is unknown; wanted one of dekr_w32, .*score_net"),
        ({"variant": "dekr_w32"}, "says that it is of dekr_w32, the network is score_net"),
        ({"input_size": "33"}, "'input_size': '33' is no input size; wanted .* a multiple of 32"),
    ],
)
def test_metadata_that_a_reader_could_not_use_is_refused_before_anything_is_written(
    metadata, complaint, tmp_path
):
    with pytest.raises(WeightsError, match=complaint):
        save_weights(ScoreNet(COCO), tmp_path / "s.safetensors", metadata)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_named_with_the_names_that_would_do(network, tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.pth: cannot be read \(No such file.*mmpose:dekr_w32_coco"):
        load_weights(network, tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match=r"weights 'a\\x00\.pth': .*NUL"):
        load_weights(network, "a\0.pth")
    with pytest.raises(WeightsError, match=r"mmpose:dekr_w64_coco.*mmpose:dekr_w32_coco"):
        load_weights(network, "mmpose:dekr_w64_coco")


@pytest.mark.parametrize("weights", [None, 5])
def test_what_names_no_file_is_refused_by_what_it_is(network, weights):
    with pytest.raises(ConfigurationError, match=f"weights is {weights}, expected a name of the zoo"):
        load_weights(network, weights)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>404", b"\x00" * 64, b"PK\x03\x04 cut short"])
def test_what_is_no_checkpoint_is_refused_with_its_first_bytes_or_its_size(network, content):
    with pytest.raises(WeightsError, match=r"page\.pth.*\d+ bytes"):
        load_weights_bytes(network, content, "page.pth")


@given(cut=st.integers(0, 4000), container=st.sampled_from(["safetensors", "zip", "legacy"]))
def test_a_file_cut_anywhere_is_a_weights_error_and_nothing_else(cut, container):
    data = SHORT_FILES[container]
    with pytest.raises(WeightsError):
        decode_checkpoint(data[: min(cut, len(data) - 1)], "cut")


@given(
    st.sampled_from(list(SHORT_FILES)),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1),
)
def test_a_damaged_file_is_read_or_refused_and_never_raises_anything_else(container, damage):
    data = bytearray(SHORT_FILES[container])
    for position, value in damage:
        data[position % len(data)] = value
    with contextlib.suppress(WeightsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of pickle protocols that damage makes up
        decode_checkpoint(bytes(data), "damaged")


def test_metadata_of_other_tools_is_kept_but_not_believed():
    tensors = ScoreNet(COCO).state_dict()
    metadata = {"format": "pt", "skeleton": "upper body", "licence": "?"}
    info = load_weights_bytes(ScoreNet(COCO), encode_safetensors(tensors, metadata), "other")
    assert (info.format, info.skeleton, info.licence) == ("rescore", "coco", None)
    assert info.metadata == metadata


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        (
            {"skeleton": "crowdpose"},
            "skeleton crowdpose, the network is for coco; build it with that skeleton",
        ),
        ({"variant": "posrefine_w32"}, "of posrefine_w32, the network is posrefine_tiny; build that one"),
        ({"variant": "dekr_w32"}, "of dekr_w32, the network is posrefine_tiny"),
        ({"variant": "score_net"}, "of score_net, the network is posrefine_tiny"),
        ({"variant": "tiny"}, "'tiny' is unknown"),
        ({"input_size": "33"}, "multiple of 32"),
        ({"input_size": "0"}, "is no input size"),
        ({"input_size": "٦٤"}, "is no input size"),
    ],
)
def test_a_file_of_ours_that_contradicts_the_network_is_refused_and_changes_nothing(metadata, complaint):
    torch.manual_seed(0)
    network = build_model("posrefine_tiny")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(1)
    tensors = build_model("posrefine_tiny").state_dict()
    data = encode_safetensors(tensors, {"format": "posrefine", **metadata})
    with pytest.raises(WeightsError, match=f"other: .*{complaint}"):
        load_weights_bytes(network, data, "other")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_plain_network_of_the_same_trunk_fills_one_with_context_modules_whatever_its_name():
    plain = build_model("dekr_w32")
    data = encode_safetensors(plain.state_dict(), {"format": "posrefine", "variant": "dekr_w32"})
    info = load_weights_bytes(build_model("posrefine_w32"), data, "plain")
    assert all(name.startswith("refine.") for name in info.not_in_file)


def of_header(header: str) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + bytes(4)


_ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (f'{{"__metadata__":null,"a":{_ONE}}}', "metadata is null, wanted an object of texts"),
        (f'{{"a":{_ONE},"a":{_ONE}}}', "names 'a' twice"),
        (
            f'{{"__metadata__":{{"k":"1"}},"__metadata__":{{"k":"2"}},"a":{_ONE}}}',
            "duplicate field `__metadata__`",
        ),
        (f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{_ONE}}}', "names 'k' twice"),
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(header, complaint):
    with pytest.raises(WeightsError, match=rf"odd: .*{complaint}"):
        decode_checkpoint(of_header(header), "odd")
    whole = decode_checkpoint(of_header(f'{{"__metadata__":{{"k":"1"}},"a":{_ONE}}}'), "whole")
    assert (list(whole.tensors), whole.metadata) == (["a"], {"k": "1"})


def test_our_own_file_that_names_an_unknown_protocol_is_refused():
    tensors = ScoreNet(COCO).state_dict()
    data = encode_safetensors(tensors, {"format": "posrefine", "protocol": "later"})
    with pytest.raises(WeightsError, match="new: metadata 'protocol': 'later' is unknown"):
        load_weights_bytes(ScoreNet(COCO), data, "new")
