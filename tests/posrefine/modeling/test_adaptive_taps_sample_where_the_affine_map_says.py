import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from posrefine.modeling.adaptive_conv import (
    AFFINE_ROWS,
    AdaptiveBlock,
    adaptive_convolution,
    at_flat_cells,
    regular_matrix,
)

JOINTS, CHANNELS = 2, 3
IDENTITY = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def features(height: int, width: int, seed: int = 0, batch: int = 1) -> Tensor:
    shape = (batch, JOINTS * CHANNELS, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(seed: int = 1) -> Tensor:
    shape = (JOINTS * CHANNELS, CHANNELS, 3, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everywhere(numbers: tuple[float, ...], height: int, width: int) -> Tensor:
    column = torch.tensor(numbers, dtype=torch.float64).repeat(JOINTS)
    return column.view(1, -1, 1, 1).expand(1, -1, height, width)


def value_at(x: Tensor, y: float, x_: float) -> Tensor:
    """Bilinear value of [C, H, W] at a point in cells; zero outside."""
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    top, left = math.floor(y), math.floor(x_)
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                total += x[:, row, column] * (1 - abs(y - row)) * (1 - abs(x_ - column))
    return total


def one_tap_at_a_time(x: Tensor, affine: Tensor, weight: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for image in range(x.shape[0]):
        for joint in range(JOINTS):
            own = slice(joint * CHANNELS, (joint + 1) * CHANNELS)
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    a = affine[image, joint * AFFINE_ROWS : (joint + 1) * AFFINE_ROWS, row, column].tolist()
                    for i, r_y in enumerate((-1, 0, 1)):
                        for j, r_x in enumerate((-1, 0, 1)):
                            y = row + a[0] * r_y + a[1] * r_x + a[4]
                            x_ = column + a[2] * r_y + a[3] * r_x + a[5]
                            sample = value_at(x[image, own], y, x_)
                            out[image, own, row, column] += weight[own, :, i, j] @ sample
    return out


# A position that float32 would round up to the next cell.
@example(2, 3, 1, 2.0**-24, 1)
@settings(max_examples=15, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(1, 2), st.floats(0, 2), st.integers(0, 2**31))
def test_any_affine_maps_give_what_a_naive_loop_gives(height, width, batch, spread, seed):
    x = features(height, width, seed, batch)
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (batch, JOINTS * AFFINE_ROWS, height, width)
    affine = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        adaptive_convolution(x, affine, weights()), one_tap_at_a_time(x, affine, weights())
    )


def test_the_identity_is_a_regular_convolution_of_each_joints_own_channels():
    x = features(7, 5)
    found = adaptive_convolution(x, everywhere(IDENTITY, 7, 5), weights())
    torch.testing.assert_close(found, F.conv2d(x, weights(), padding=1, groups=JOINTS))


@pytest.mark.parametrize(("shift_y", "shift_x"), [(1, 0), (0, 1), (-2, 1)])
def test_the_translation_is_y_then_x_in_cells(shift_y, shift_x):
    x = features(9, 9)
    found = adaptive_convolution(x, everywhere((1, 0, 0, 1, shift_y, shift_x), 9, 9), weights())
    regular = F.conv2d(x, weights(), padding=1, groups=JOINTS)
    inside = slice(3, 6)
    wanted = regular[:, :, 3 + shift_y : 6 + shift_y, 3 + shift_x : 6 + shift_x]
    torch.testing.assert_close(found[:, :, inside, inside], wanted)


def test_doubling_the_matrix_is_a_dilated_convolution():
    x = features(8, 6)
    found = adaptive_convolution(x, everywhere((2, 0, 0, 2, 0, 0), 8, 6), weights())
    torch.testing.assert_close(found, F.conv2d(x, weights(), padding=2, dilation=2, groups=JOINTS))


def test_taps_far_outside_the_map_are_zero():
    found = adaptive_convolution(features(4, 4), everywhere((1, 0, 0, 1, 100, 0), 4, 4), weights())
    assert torch.equal(found, torch.zeros_like(found))


def test_gradients_reach_features_affine_maps_and_weights():
    generator = torch.Generator().manual_seed(3)
    affine = 0.37 * torch.randn((1, JOINTS * AFFINE_ROWS, 3, 4), generator=generator, dtype=torch.float64)
    inputs = (features(3, 4), affine, weights())
    assert torch.autograd.gradcheck(adaptive_convolution, tuple(x.requires_grad_() for x in inputs))


def test_positions_stay_exact_in_bfloat16_on_a_wide_map():
    ramp = torch.arange(200.0).expand(1, JOINTS * CHANNELS, 3, 200)
    centre_only = torch.zeros(JOINTS * CHANNELS, CHANNELS, 3, 3)
    centre_only[:, 0, 1, 1] = 1
    affine = everywhere((1, 0, 0, 1, 0, 0), 3, 200)
    found = adaptive_convolution(ramp.bfloat16(), affine.bfloat16(), centre_only.bfloat16())
    assert torch.equal(found, ramp.bfloat16())


def test_a_new_block_starts_as_a_regular_convolution():
    block = AdaptiveBlock(JOINTS, CHANNELS).eval()
    x = features(6, 6).float()
    regular = F.conv2d(x, block.weight, padding=1, groups=JOINTS)
    torch.testing.assert_close(block(x), F.relu(block.bn(regular) + x))


def test_memory_layout_changes_nothing():
    block = AdaptiveBlock(JOINTS, CHANNELS).eval()
    x = features(6, 6).float()
    wanted = block(x)
    channels_last = block.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, wanted)


def test_the_regular_grid_is_row_by_row_y_above_x():
    assert regular_matrix(torch.zeros(())).tolist() == [
        [-1, -1, -1, 0, 0, 0, 1, 1, 1],
        [-1, 0, 1, -1, 0, 1, -1, 0, 1],
    ]


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**31))
def test_at_some_cells_a_block_gives_what_it_gives_there_everywhere(height, width, seed):
    torch.manual_seed(seed)
    block = AdaptiveBlock(JOINTS, CHANNELS).double().eval()
    torch.nn.init.normal_(block.affine_conv.weight, std=0.3)
    x = features(height, width, seed, batch=2)
    cells = torch.stack([torch.randperm(height * width)[:3] for _ in range(2)])
    torch.testing.assert_close(block(x, cells), at_flat_cells(block(x), cells), rtol=1e-12, atol=1e-12)
