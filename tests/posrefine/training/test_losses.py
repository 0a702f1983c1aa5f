from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posrefine.training.losses import flat_cells_to_learn, heatmap_loss, offset_loss, training_losses
from posrefine.training.samples import Batch


def test_the_heatmap_loss_is_the_mean_of_weighted_squares():
    target = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    predicted = torch.tensor([0.5, 1.0, 0.0, 2.0]).view(1, 1, 2, 2)
    weight = torch.tensor([1.0, 0.1, 0.1, 0.0]).view(1, 1, 2, 2)
    assert heatmap_loss(predicted, target, weight).item() == pytest.approx((0.25 + 0.1) / 4)


def test_the_offset_loss_is_quadratic_below_a_ninth_of_a_cell_and_linear_above():
    predicted = torch.tensor([1 / 18, 1.0, 5.0, 0.0]).view(1, 2, 1, 2)
    weight = torch.tensor([0.5, 0.5, 0.0, 0.0]).view(1, 2, 1, 2)
    expected = 0.5 * (0.5 * (1 / 18) ** 2 * 9 + (1 - 1 / 18)) / 2
    assert offset_loss(predicted, torch.zeros(1, 2, 1, 2), weight).item() == pytest.approx(expected)


@pytest.mark.parametrize("diagonal_px", [4000.0, 40000.0])
def test_an_offset_that_is_off_by_the_saturation_pulls_half_as_hard_whatever_the_persons_size(
    diagonal_px: float,
):
    saturation = 0.02
    errors = saturation * torch.tensor([0.1, 1.0, 9.0])
    predicted = (errors * diagonal_px / 4).view(1, 3, 1, 1).requires_grad_()
    weight = torch.full_like(predicted, 1 / diagonal_px)
    pulls = []
    for reached in (saturation, None):
        (gradient,) = torch.autograd.grad(
            offset_loss(predicted, torch.zeros_like(predicted), weight, reached), predicted
        )
        pulls.append(gradient.flatten())
    assert (pulls[0] / pulls[1]).tolist() == pytest.approx([1 / 1.1, 0.5, 0.1], abs=0.01)


def test_saturation_leaves_small_errors_as_they_are():
    predicted = torch.full((1, 2, 1, 1), 1e-3, dtype=torch.float64)
    zeros, weight = torch.zeros_like(predicted), torch.full_like(predicted, 0.01)
    plain = offset_loss(predicted, zeros, weight).item()
    assert offset_loss(predicted, zeros, weight, saturation=0.02).item() == pytest.approx(plain, rel=1e-3)


def test_without_persons_the_offset_loss_is_zero_and_not_nan():
    zeros = torch.zeros(1, 2, 4, 4)
    assert offset_loss(torch.randn(1, 2, 4, 4), zeros, zeros).item() == 0


def test_the_total_adds_both_losses_with_dekrs_factors_in_float32():
    ones, zeros = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    batch = Batch(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), zeros, ones, zeros, ones, persons=1)
    losses = training_losses(ones.bfloat16(), ones.bfloat16(), batch)
    assert losses.total.dtype == torch.float32
    assert losses.heatmap.item() == pytest.approx(1.0)
    assert losses.offset.item() == pytest.approx(0.03 * (1 - 1 / 18))
    assert losses.total.item() == pytest.approx(losses.heatmap.item() + losses.offset.item())


@given(st.integers(1, 29), st.sets(st.integers(0, 29), max_size=30), st.integers(0, 2**31))
def test_offsets_are_computed_where_they_count_and_nowhere_twice(count: int, counting: set[int], seed: int):
    torch.manual_seed(seed)
    weight = torch.zeros(1, 4, 30)
    weight[0, 2, list(counting)] = 0.1
    flat_cells = flat_cells_to_learn(weight.view(1, 4, 5, 6), count)
    assert flat_cells is not None
    chosen = set(flat_cells[0].tolist())
    assert flat_cells.shape == (1, count)
    assert len(chosen) == count
    assert chosen <= counting or counting <= chosen


def test_where_all_cells_are_wanted_none_are_chosen():
    assert flat_cells_to_learn(torch.ones(1, 2, 4, 4), 16) is None
