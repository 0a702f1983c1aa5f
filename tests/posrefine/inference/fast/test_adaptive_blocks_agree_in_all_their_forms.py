"""Blocks computed at points, the stacked form and the Triton kernel, against the network's own blocks."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import noisy_network

from posrefine.inference.fast.backend import Backend, Library
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.inference.fast.points import PointOffsetHead, PointOffsets, _Block
from posrefine.inference.fast.stacked import (
    CHANNELS,
    StackedOffsetHead,
    adaptive_weights,
    plain_adaptive_block,
)
from posrefine.modeling.adaptive_conv import AdaptiveBlock

CPU = torch.device("cpu")


def random_block(joints: int, channels: int, spread: float, seed: int = 0) -> AdaptiveBlock:
    generator = torch.Generator().manual_seed(seed)
    block = AdaptiveBlock(joints, channels).eval().requires_grad_(False)
    for tensor in (block.affine_conv.weight, block.affine_conv.bias):
        tensor.normal_(0, spread, generator=generator)
    for tensor in (block.weight, block.bn.running_mean, block.bn.bias):
        tensor.normal_(0, 0.3, generator=generator)
    block.bn.running_var.uniform_(0.5, 2, generator=generator)
    return block


def features(batch: int, width: int, height: int, columns: int) -> torch.Tensor:
    values = torch.randn(batch, width, height, columns, generator=torch.Generator().manual_seed(9))
    return values.contiguous(memory_format=torch.channels_last)


def padded(x: torch.Tensor, joints: int) -> torch.Tensor:
    by_joint = x.unflatten(1, (joints, -1))
    filled = F.pad(by_joint, (0, 0, 0, 0, 0, CHANNELS - by_joint.shape[2])).flatten(1, 2)
    return filled.contiguous(memory_format=torch.channels_last)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    eighths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.sampled_from([8, 15]),
    spread=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    seed=st.integers(0, 2**16),
)
def test_blocks_at_points_are_what_blocks_everywhere_are_there(batch, eighths, channels, spread, seed):
    joints = 2
    blocks = [random_block(joints, channels, spread, seed + index) for index in range(2)]
    x = features(batch, joints * channels, 8 * eighths[0], 8 * eighths[1])
    generator = torch.Generator().manual_seed(seed)
    final = torch.randn(joints * 2, channels, 1, 1, generator=generator)
    bias = torch.randn(joints * 2, generator=generator)
    columns, rows = x.shape[3], x.shape[2]
    cells = torch.stack(
        [torch.randint(side, (batch, 5), generator=generator) for side in (columns, rows)], dim=-1
    )
    # Where random maps jump from cell to cell, a tap that moves by a millionth of a cell shows a block later.
    for count in (0, 1, 2) if spread < 1 else (0, 1):
        everywhere = x
        for block in blocks[:count]:
            everywhere = block(everywhere)
        wanted = DenseOffsets(F.conv2d(everywhere, final, bias, groups=joints)).at(cells)
        found = PointOffsets(
            x,
            [_Block.of(block, joints) for block in blocks[:count]],
            final.view(joints, 2, channels).transpose(1, 2),
            bias.view(joints, 1, 2),
        ).at(cells)
        torch.testing.assert_close(found, wanted, atol=1e-2 if spread > 1 else 1e-3, rtol=1e-3)


def test_no_cells_give_no_offsets():
    block = _Block.of(random_block(2, 8, 0.1), 2)
    points = PointOffsets(features(3, 16, 8, 8), [block], torch.ones(2, 8, 2), torch.zeros(2, 1, 2))
    assert points.at(torch.zeros(3, 0, 2, dtype=torch.int64)).shape == (3, 0, 2, 2)


def test_many_cells_are_read_in_parts_and_give_what_few_give(monkeypatch):
    blocks = [_Block.of(random_block(2, 8, 0.5, seed), 2) for seed in range(2)]
    points = PointOffsets(features(2, 16, 16, 16), blocks, torch.ones(2, 8, 2), torch.zeros(2, 1, 2))
    cells = torch.randint(16, (2, 30, 2), generator=torch.Generator().manual_seed(0))
    together = points.at(cells)
    monkeypatch.setattr("posrefine.inference.fast.points._ROWS_AT_A_TIME", 2 * 45**2 * 7)
    torch.testing.assert_close(points.at(cells), together, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("channels", [8, 15])
def test_the_stacked_form_fills_up_channels_with_zeros(channels):
    block = random_block(3, channels, 0.3)
    x = features(2, 3 * channels, 8, 16)
    weights = adaptive_weights(block, 3, Backend(CPU, torch.float32, Library.TORCH))
    found = plain_adaptive_block(padded(x, 3), weights)
    torch.testing.assert_close(found, padded(block(x), 3), atol=1e-4, rtol=1e-4)


def test_the_stacked_head_computes_what_the_head_at_points_computes():
    network = noisy_network().eval()
    widths = network.variant.network.backbone.branch_channels
    maps = [features(2, width, 16 >> level, 24 >> level) for level, width in enumerate(widths)]
    backend = Backend(CPU, torch.float32, Library.TORCH)
    cells = torch.tensor([[[0, 0], [23, 15], [7, 9]], [[23, 0], [0, 15], [11, 3]]])
    with torch.inference_mode():
        points, stacked = (
            head.offsets(head(maps)).at(cells)
            for head in (
                PointOffsetHead(network, widths, backend),
                StackedOffsetHead(network, widths, backend, plain_adaptive_block),
            )
        )
    torch.testing.assert_close(stacked, points, atol=1e-4, rtol=1e-4)


def in_new_process(script: str, **environment: str) -> None:
    """Triton decides when it is imported whether it interprets or compiles."""
    pytest.importorskip("triton", reason="needs Triton (it comes with the development extras on Linux)")
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


INTERPRETED = """
import torch
from posrefine.inference.fast.adaptive_triton import triton_adaptive_block
from posrefine.inference.fast.stacked import AdaptiveWeights, plain_adaptive_block

torch.manual_seed(0)
joints, shape = 2, (2, 32, 8, 24)
bias = torch.randn(joints, 16)
bias[0, 4:6] = torch.tensor([-30.0, 1e9])
x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
weights = AdaptiveWeights(
    0.1 * torch.randn(joints, 9, 16, 16), bias, torch.randn(joints, 9, 16, 16), torch.randn(joints, 16)
)
found = triton_adaptive_block(x, weights)
assert found.is_contiguous(memory_format=torch.channels_last)
torch.testing.assert_close(found, plain_adaptive_block(x, weights), atol=1e-3, rtol=1e-4)
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from posrefine.inference.fast.adaptive_triton import _adaptive_block

pointers = dict.fromkeys(("x_ptr", "out_ptr", "affine_ptr", "weight_ptr"), "*{dtype}")
pointers |= dict.fromkeys(("affine_bias_ptr", "shift_ptr"), "*fp32")
numbers = dict.fromkeys(("cell_count", "height", "columns", "width"), "i32")
signature = {name: (pointers | numbers).get(name, "constexpr") for name in _adaptive_block.arg_names}
source = ASTSource(_adaptive_block, signature, constexprs=dict(size=16, at_once=64))
assert triton.compile(source, target=GPUTarget("cuda", {capability}, 32)).asm["cubin"]
"""


def test_the_triton_kernel_computes_the_block():
    in_new_process(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.parametrize(
    ("dtype", "capability"), [("bf16", 80), ("bf16", 90), pytest.param("fp32", 90, marks=pytest.mark.slow)]
)
def test_the_triton_kernel_compiles_for_gpus_that_are_not_here(dtype, capability, tmp_path):
    script = COMPILED.replace("{dtype}", dtype).replace("{capability}", str(capability))
    file = tmp_path / "compile_kernel.py"
    file.write_text(script)
    in_new_process(f"import runpy; runpy.run_path({str(file)!r})", TRITON_CACHE_DIR=str(tmp_path))
