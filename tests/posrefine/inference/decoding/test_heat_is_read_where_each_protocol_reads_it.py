"""Point sampling of heatmaps against building the maps that the published codes build."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from posrefine.inference.decoding.heat import joint_heat
from posrefine.inference.decoding.views import ScaleMaps
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.test_protocols import HeatSampling

cells = st.integers(2, 9).map(lambda n: 8 * n)


def scale_maps(scale, height, width, generator, joints=5, batch=2):
    size = (batch, joints + 1, int(height * scale), int(width * scale))
    nowhere = DenseOffsets(torch.zeros(batch, 2 * joints, 1, 1))
    return ScaleMaps(scale, torch.rand(size, generator=generator), nowhere, mirrored=False)


def enlarged(heatmap, target_hw):
    """The published way: corner-aligned up to the last block, whose rows and columns repeat."""
    factors = [target // source for target, source in zip(target_hw, heatmap.shape[2:], strict=True)]
    size = [target - factor + 1 for target, factor in zip(target_hw, factors, strict=True)]
    inner = F.interpolate(heatmap, size=size, mode="bilinear", align_corners=True)
    return F.pad(inner, (0, factors[1] - 1, 0, factors[0] - 1), mode="replicate")


@settings(max_examples=40, deadline=None)
@given(cells, cells, st.sampled_from([(1.0,), (2.0, 1.0), (2.0, 1.0, 0.5), (1.5, 1.0)]), st.integers(0, 99))
def test_sampled_heat_equals_the_mean_of_the_enlarged_heatmaps(height, width, scales, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = [scale_maps(scale, height, width, generator) for scale in scales]
    input_hw = (4 * height, 4 * width)
    reach = torch.tensor([input_hw[1], input_hw[0]], dtype=torch.float32)
    points = (torch.rand(2, 7, 5, 2, generator=generator) * 1.4 - 0.2) * reach
    mean = torch.stack([enlarged(m.heatmap, input_hw) for m in maps]).mean(0)
    x = points[..., 0].floor().clamp(0, input_hw[1] - 1).long()
    y = points[..., 1].floor().clamp(0, input_hw[0] - 1).long()
    image, joint = torch.arange(2).view(2, 1, 1), torch.arange(5).view(1, 1, 5)
    heat = joint_heat(maps, points, input_hw, HeatSampling.UPSAMPLED)
    torch.testing.assert_close(heat, mean[image, joint, y, x], atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(cells, cells, st.integers(0, 99))
def test_quarter_sampling_equals_mmposes_grid_sample(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = scale_maps(1.0, height, width, generator, batch=1)
    in_cells = (torch.rand(7, 5, 2, generator=generator) * 1.4 - 0.2) * torch.tensor([width, height])
    grid = in_cells / torch.tensor([width - 1, height - 1]) * 2 - 1
    expected = F.grid_sample(
        maps.heatmap[0, :5].unsqueeze(1),
        grid.transpose(0, 1).unsqueeze(1),
        padding_mode="border",
        align_corners=False,
    ).view(5, 7)
    heat = joint_heat([maps], in_cells[None] * 4, (4 * height, 4 * width), HeatSampling.QUARTER)
    torch.testing.assert_close(heat[0], expected.T, atol=1e-5, rtol=0)


def test_the_two_protocols_read_different_heat():
    generator = torch.Generator().manual_seed(1)
    maps = [scale_maps(1.0, 16, 16, generator)]
    points = torch.rand(2, 3, 5, 2, generator=generator) * 64
    upsampled, quarter = (joint_heat(maps, points, (64, 64), sampling) for sampling in HeatSampling)
    assert (upsampled - quarter).abs().max() > 0.05


@pytest.mark.parametrize("sampling", list(HeatSampling))
def test_the_centres_map_is_never_read_as_a_joint(sampling):
    heatmap = torch.zeros(1, 6, 16, 16)
    heatmap[:, 5] = 1.0
    maps = [ScaleMaps(1.0, heatmap, DenseOffsets(torch.zeros(1, 10, 16, 16)), mirrored=False)]
    assert joint_heat(maps, torch.rand(1, 4, 5, 2) * 64, (64, 64), sampling).max() == 0
