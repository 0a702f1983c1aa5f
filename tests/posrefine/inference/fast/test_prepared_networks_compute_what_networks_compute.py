import numpy as np
import pytest
import torch
from support.networks import noisy_network
from support.shared import load_golden, stand_in_fill
from torch import nn

from posrefine.build import build_model
from posrefine.inference.fast.backend import Backend, Library
from posrefine.inference.fast.device import Precision, choose_dtype
from posrefine.inference.fast.network import FastMaps, FastNetwork
from posrefine.inference.fast.prepare import PreparedNetwork
from posrefine.inference.fast.refine import FastRefine
from posrefine.inference.predictor import Predictor
from posrefine.modeling.network import PoseMaps
from posrefine.modeling.refine import RefineSpec, refine_block
from posrefine.skeletons import COCO, CROWDPOSE, SKELETONS

CPU = torch.device("cpu")
# float32 in another order of summation, relative to the spread of a map. Where random weights make a map jump
# from cell to cell, a tap that moves by a millionth of a cell shows: a few cells differ by more.
RMS_TOLERANCE = 1e-5
MAX_TOLERANCE = 2e-3


def with_statistics(network: nn.Module) -> nn.Module:
    """Gives batch norms and gains values that would be missed, as training does."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("running_mean", "bn.bias", "bn1.bias", "bn2.bias", "norm.bias")):
                tensor.normal_(0, 0.2, generator=generator)
            elif "gain" in name:
                tensor.uniform_(0.1, 0.5, generator=generator)
            elif "transform_matrix_conv" in name or "translation_conv" in name:
                tensor.normal_(0, 0.02, generator=generator)
    return network


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def assert_close(found: PoseMaps, wanted: PoseMaps) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        error = (ours - theirs).abs()
        assert error.square().mean().sqrt() < RMS_TOLERANCE * theirs.std()
        assert error.max() < MAX_TOLERANCE * theirs.std()


def assert_prepared_alike(network, images, library=Library.ONEDNN):
    with torch.inference_mode():
        wanted = network.eval()(network.normalise(images))
        found = everything(FastNetwork(network, Backend(CPU, torch.float32, library)), images)
    assert_close(found, wanted)


def everything(network: FastNetwork | PreparedNetwork, images: torch.Tensor) -> PoseMaps:
    """The heatmaps, and the offsets read at every cell."""
    with torch.inference_mode():
        maps = network(images)
        batch, _, height, width = maps.heatmap.shape
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([x, y], dim=-1).view(1, -1, 2).expand(batch, -1, -1)
        read = network.offsets(maps).at(cells)
    assert read.shape == (batch, height * width, network_joints(maps), 2)
    return PoseMaps(maps.heatmap, read.flatten(2).transpose(1, 2).reshape(batch, -1, height, width))


def network_joints(maps: FastMaps) -> int:
    return maps.heatmap.shape[1] - 1


@pytest.mark.parametrize("library", [Library.ONEDNN, Library.TORCH])
@pytest.mark.parametrize(
    "refine",
    [
        RefineSpec(dcm=False, hsm=False),
        RefineSpec(dcm=True, hsm=False, gain=0.3),
        RefineSpec(dcm=False, hsm=True, gain=0.3),
        RefineSpec(dcm=True, hsm=True, gain=0.3),
    ],
)
def test_with_any_context_modules_and_any_library(refine, library):
    torch.manual_seed(1)
    network = with_statistics(build_model("posrefine_tiny", refine=refine))
    assert_prepared_alike(network, pixels(2, 3, 64, 96), library)


@pytest.mark.parametrize(
    ("name", "skeleton"), [("dekr_w32", "coco"), ("dekr_w32", "crowdpose"), ("dekr_w48", "coco")]
)
def test_published_networks_on_golden_inputs(name, skeleton):
    golden = load_golden(f"forward_{name}_{skeleton}")
    generator = np.random.Generator(np.random.PCG64(int(golden["seed"])))
    images = torch.from_numpy(generator.standard_normal(tuple(golden["shape"])).astype(np.float32))
    network = stand_in_fill(build_model(name, skeleton=SKELETONS[skeleton]))
    # The golden inputs are normalised already.
    network.pixel_mean.fill_(0)
    network.pixel_std.fill_(1 / 255)
    found = everything(PreparedNetwork(network, CPU, torch.float32), images)
    assert_close(found, PoseMaps(*(torch.from_numpy(golden[key]) for key in ("heatmap", "offset"))))


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 32, 160), (5, 64, 32), (3, 256, 320)])
def test_any_shape(shape):
    batch, height, width = shape
    torch.manual_seed(2)
    network = with_statistics(build_model("posrefine_tiny", skeleton=CROWDPOSE))
    assert_prepared_alike(network, pixels(batch, 3, height, width))


def test_taps_far_outside_the_map_or_infinitely_far(monkeypatch):
    torch.manual_seed(3)
    network = with_statistics(build_model("posrefine_tiny"))
    block = network.offset_feature_layers.blocks[0]
    shifts = torch.tensor([-1e9, -40.0, -1.0, 0.5, 15.0, 16.0, 17.0, 1e9])
    with torch.no_grad():
        block.affine_conv.bias.view(17, 6)[:, 4:] = shifts.repeat(3)[:17, None]  # one a joint
    assert_prepared_alike(network, pixels(1, 3, 64, 64))
    with torch.no_grad():
        block.affine_conv.bias[:6] = 3e38  # whose sums are more than float32 holds
    # Weights that do so with noise are refused; an image may yet bring others there.
    monkeypatch.setattr("posrefine.inference.fast.prepare.check_activations", lambda network: None)
    maps = everything(PreparedNetwork(network, CPU, torch.float32), pixels(1, 3, 64, 64))
    assert maps.offset.isfinite().all()


def test_a_prepared_network_keeps_nothing_of_the_callers():
    network = with_statistics(noisy_network())
    images = pixels(1, 3, 64, 64)
    prepared = PreparedNetwork(network, CPU, torch.float32)
    before = everything(prepared, images)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.zero_()
    after = everything(prepared, images)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_maps_of_one_call_survive_the_next():
    prepared = PreparedNetwork(noisy_network(), CPU, torch.float32)
    first = prepared(pixels(1, 3, 64, 64))
    kept = FastMaps(*(tensor.clone() for tensor in first))
    prepared(255 - pixels(1, 3, 64, 64))
    assert torch.equal(first.heatmap, kept.heatmap)
    assert torch.equal(first.of_joints, kept.of_joints)


def test_how_it_was_prepared_can_be_told():
    preparation = Predictor(noisy_network(), input_size=64, precision="float32").preparation
    assert preparation.adaptive == "points"
    assert preparation.dtype == torch.float32
    assert preparation.seconds < 60
    assert str(preparation).startswith("cpu, float32, oneDNN convolutions, adaptive ones by points; ready in")


def test_float32_is_float32_and_auto_is_the_faster_one():
    assert choose_dtype(Precision.FLOAT32, CPU) is torch.float32
    assert choose_dtype(Precision.BFLOAT16, CPU) is torch.bfloat16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert choose_dtype(Precision.AUTO, CPU) is (torch.bfloat16 if native else torch.float32)
    assert Predictor(noisy_network(), input_size=64).preparation.dtype is choose_dtype(Precision.AUTO, CPU)


def test_bfloat16_maps_are_float32_for_both_skeletons():
    for skeleton in (COCO, CROWDPOSE):
        maps = everything(PreparedNetwork(noisy_network(skeleton), CPU, torch.bfloat16), pixels(1, 3, 64, 64))
        assert maps.heatmap.shape[1] == skeleton.num_joints + 1
        assert maps.offset.shape[1] == 2 * skeleton.num_joints
        assert maps.offset.dtype == torch.float32


@pytest.mark.parametrize(("channels", "reduction", "cells"), [(32, 8, 64), (256, 1, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_context_modules_alone_on_many_cells_and_on_many_channels(channels, reduction, cells, dtype):
    if dtype is torch.bfloat16 and Backend.of(CPU, dtype).library is not Library.ONEDNN:
        pytest.skip("oneDNN does not convolve in bfloat16 on this CPU")
    block = with_statistics(refine_block(channels, reduction, RefineSpec(dcm=True, hsm=True))).eval()
    x = torch.randn(2, channels, cells, cells, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        expected = block(x)
        own = x.to(dtype).contiguous(memory_format=torch.channels_last)
        found = FastRefine(block, Backend.of(CPU, dtype))(own)
    assert found.is_contiguous(memory_format=torch.channels_last)
    error = (found.float() - expected).square().mean().sqrt() / expected.std()
    assert error < (1e-5 if dtype is torch.float32 else 2e-2)
