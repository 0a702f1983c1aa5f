import pytest
import torch
from torch import Tensor, nn

from posrefine.build import build_model
from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import CascadedContext, GatedMLP, GlobalAttention, HybridSelfAttention
from posrefine.modeling.refine import RefineSpec, refine_block
from posrefine.modeling.residual import ChannelNorm, Gain

EVERY_COMBINATION = [(True, False), (False, True), (True, True)]


def random_norms(module: nn.Module) -> None:
    """Makes batch norms of `module` do something: a fresh one in evaluation mode is nearly the identity."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.weight, 0.5, 1.5)


def set_gains(module: nn.Module, value: float) -> None:
    for part in module.modules():
        if isinstance(part, Gain):
            nn.init.constant_(part.weight, value)


def reach(module: nn.Module, channels: int, size: int = 41) -> Tensor:
    """[size, size] bool: input cells that move the middle output cell."""
    x = torch.randn(1, channels, size, size, requires_grad=True)
    module(x)[0, :, size // 2, size // 2].sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(0) > 0


@pytest.mark.parametrize(("dcm", "hsm"), EVERY_COMBINATION)
def test_a_posrefine_network_with_zero_gains_computes_what_dekr_computes_bit_for_bit(dcm, hsm):
    dekr = build_model("posrefine_tiny", refine=RefineSpec(dcm=False, hsm=False)).eval()
    refined = build_model("posrefine_tiny", refine=RefineSpec(dcm=dcm, hsm=hsm, gain=0.0)).eval()
    random_norms(refined)
    random_norms(dekr)
    left_over = refined.load_state_dict(dekr.state_dict(), strict=False)
    assert left_over.missing_keys
    assert all(name.startswith("refine.") for name in left_over.missing_keys)
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        for found, wanted in zip(refined(images), dekr(images), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize(("dcm", "hsm"), EVERY_COMBINATION)
def test_in_mixed_precision_branches_leave_in_the_type_they_came_in(dcm, hsm):
    """Wider ones would double what enlarging and concatenating them costs."""
    block = refine_block(16, 2, RefineSpec(dcm=dcm, hsm=hsm, gain=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        assert block(torch.randn(1, 16, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("width", ["w32", "w48"])
def test_posrefine_at_full_size_starts_as_dekr_bit_for_bit(width):
    dekr = build_model(f"dekr_{width}").eval()
    refined = build_model(f"posrefine_{width}").eval()
    random_norms(dekr)
    refined.load_state_dict(dekr.state_dict(), strict=False)
    set_gains(refined, 0.0)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for found, wanted in zip(refined(images), dekr(images), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize(("dcm", "hsm"), EVERY_COMBINATION)
def test_grown_gains_change_the_maps(dcm, hsm):
    network = build_model("posrefine_tiny", refine=RefineSpec(dcm=dcm, hsm=hsm, gain=0.0)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(images)
        set_gains(network, 1.0)
        assert not torch.equal(network(images).heatmap, before.heatmap)


@pytest.mark.parametrize(("dcm", "hsm"), EVERY_COMBINATION)
def test_zero_gains_still_learn(dcm, hsm):
    block = refine_block(8, 4, RefineSpec(dcm=dcm, hsm=hsm, gain=0.0))
    block(torch.randn(2, 8, 16, 16)).square().sum().backward()
    gains = [part.weight for part in block.modules() if isinstance(part, Gain)]
    assert len(gains) == dcm + 2 * hsm
    assert all(gain.grad is not None and gain.grad.abs().max() > 0 for gain in gains)


def test_published_sizes_start_at_a_gain_of_a_millionth():
    gains = [p for name, p in build_model("posrefine_w32").named_parameters() if "gain" in name]
    assert len(gains) == 3 * 4
    assert all(torch.equal(gain, torch.full_like(gain, 1e-6)) for gain in gains)


@pytest.mark.parametrize(("dcm", "hsm"), [(False, False), *EVERY_COMBINATION])
def test_each_combination_puts_its_own_modules_on_all_four_branches(dcm, hsm):
    wanted = [DilatedConvolutionModule] * dcm + [HybridSelfAttention, GatedMLP] * hsm
    for block in build_model("posrefine_tiny", refine=RefineSpec(dcm, hsm)).refine:
        assert [type(part.inner) for part in block] == wanted


def test_modules_follow_one_another_each_behind_a_norm_and_a_gain():
    block = refine_block(8, 2, RefineSpec(dcm=True, hsm=True, gain=0.5)).eval()
    x = torch.randn(1, 8, 12, 12)
    wanted = x
    for part in block:
        wanted = wanted + 0.5 * part.inner(part.norm(wanted))
    torch.testing.assert_close(block(x), wanted)


def test_a_branch_is_reduced_to_the_coarsest_ones_grid():
    blocks = build_model("posrefine_w32").refine
    assert [block.attention.inner.attention.reduction for block in blocks] == [8, 4, 2, 1]


def test_dcm_cascades_its_dilated_blocks_with_rates_1_3_3_5():
    module = DilatedConvolutionModule(8).eval()
    assert [block[0].dilation for block in module.dilated] == [(1, 1), (3, 3), (3, 3), (5, 5)]
    kernels = [
        shape[-1][0].kernel_size if i else shape[0].kernel_size for i, shape in enumerate(module.shapes)
    ]
    assert kernels == [(1, 1), (3, 1), (1, 3), (3, 3)]
    x = torch.randn(1, 8, 20, 20)
    own = [shape(x) for shape in module.shapes]
    outputs = [module.dilated[0](own[0])]
    for k in (1, 2, 3):
        outputs.append(module.dilated[k](own[k] + outputs[-1]))
    torch.testing.assert_close(module(x), module.project(torch.cat(outputs, 1)))


def test_dcm_sees_as_far_as_its_dilations_add_up():
    module = DilatedConvolutionModule(8).eval()
    for part in module.modules():  # positive throughout, so that no ReLU hides a path
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 0.01)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.bias, 1.0)
    reached = torch.nonzero(reach(module, 8)) - 41 // 2
    assert reached.max(0).values.tolist() == [1 + 3 + 3 + 5] * 2
    assert reached.min(0).values.tolist() == [-(1 + 3 + 3 + 5)] * 2


def test_dcm_refuses_a_width_that_four_paths_cannot_share():
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        DilatedConvolutionModule(6)


def test_hsm_adds_what_is_near_by_modulation_to_what_is_far_by_attention():
    block = HybridSelfAttention(8, reduction=2).eval()
    x = torch.randn(1, 8, 6, 10)
    local = block.context(x) * block.value(x)
    torch.testing.assert_close(block(x), block.project(local + block.attention(x)))


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (96, 1), (128, 2)])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_every_cell_attends_to_the_reduced_image_by_softmax(reduction, channels, heads):
    attention = GlobalAttention(channels, reduction)
    x = 3 * torch.randn(2, channels, 8, 12)
    coarse = nn.functional.avg_pool2d(x, reduction)
    key, value = attention.key_value(coarse).split(channels, dim=1)
    query, keys, values = (
        maps.flatten(2).unflatten(1, (heads, channels // heads)) for maps in (attention.query(x), key, value)
    )
    weights = torch.softmax(torch.einsum("bhcq,bhck->bhqk", query, keys) / (channels / heads) ** 0.5, dim=-1)
    attended = torch.einsum("bhqk,bhck->bhcq", weights, values).reshape(x.shape)
    near = attention.position(value).repeat_interleave(reduction, 2).repeat_interleave(reduction, 3)
    torch.testing.assert_close(attention(x), attended + near, atol=1e-5, rtol=1e-4)


def test_attention_reaches_the_whole_image_and_modulation_six_cells():
    assert reach(GlobalAttention(8, reduction=4), 8, size=40).all()
    context = CascadedContext(8).eval()
    for part in context.modules():  # positive throughout, so that no ReLU hides a path
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 0.01)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.bias, 1.0)
    reached = torch.nonzero(reach(context, 8)) - 41 // 2
    assert reached.max(0).values.tolist() == [1 + 2 + 3] * 2


def test_attention_knows_where_values_lie_relative_to_the_cell():
    """Without its position term, attention would not see two others change places."""
    attention, x = GlobalAttention(8, reduction=1), torch.randn(1, 8, 6, 6)
    moved = x.clone()
    moved[..., 0, 1], moved[..., 5, 5] = x[..., 5, 5], x[..., 0, 1]
    assert not torch.allclose(attention(moved)[..., 0, 0], attention(x)[..., 0, 0], atol=1e-4)
    nn.init.zeros_(attention.position.weight)
    torch.testing.assert_close(attention(moved)[..., 0, 0], attention(x)[..., 0, 0])


def test_the_mlp_gates_what_it_widened_and_adds_its_input():
    mlp = GatedMLP(4, ratio=3)
    x = torch.randn(1, 4, 9, 9)
    hidden = mlp.widen(x)
    assert hidden.shape[1] == 12
    torch.testing.assert_close(mlp(x), x + mlp.narrow(nn.functional.gelu(hidden) * hidden))


def test_the_local_context_sums_cascaded_depthwise_rates_1_2_3():
    module = CascadedContext(4).eval()
    first, second, third = module.dilated
    x = torch.randn(1, 4, 15, 15)
    assert [(block[0].dilation[0], block[0].groups) for block in module.dilated] == [(1, 4), (2, 4), (3, 4)]
    wanted = first(x) + second(first(x)) + third(second(first(x)))
    torch.testing.assert_close(module(x), wanted)


def test_channel_norm_normalises_every_pixel_on_its_own():
    out = ChannelNorm(16)(5 * torch.randn(2, 16, 3, 4) + 7)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)
