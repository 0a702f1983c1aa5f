import pytest
import torch
from torch import Tensor, nn

from posrefine.build import build_model
from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import CascadedContext, ChannelNorm, Gain, HybridSelfAttention
from posrefine.modeling.refine import RefineSpec, refine_block

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
    block = refine_block(16, RefineSpec(dcm=dcm, hsm=hsm, gain=0.5))
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
    block = refine_block(8, RefineSpec(dcm=dcm, hsm=hsm, gain=0.0))
    block(torch.randn(2, 8, 16, 16)).square().sum().backward()
    gains = [part.weight for part in block.modules() if isinstance(part, Gain)]
    assert len(gains) == (2 if hsm else 1)
    assert all(gain.grad is not None and gain.grad.abs().max() > 0 for gain in gains)


def test_published_sizes_start_at_a_gain_of_a_millionth():
    gains = [p for name, p in build_model("posrefine_w32").named_parameters() if "gain" in name]
    assert len(gains) == 2 * 4
    assert all(torch.equal(gain, torch.full_like(gain, 1e-6)) for gain in gains)


def test_each_combination_puts_its_own_context_on_all_four_branches():
    found = {
        (dcm, hsm): [type(part) for part in build_model("posrefine_tiny", refine=RefineSpec(dcm, hsm)).refine]
        for dcm in (False, True)
        for hsm in (False, True)
    }
    assert found[False, False] == [nn.Identity] * 4
    assert found[False, True] == found[True, True] == [HybridSelfAttention] * 4
    hsm_only = refine_block(8, RefineSpec(dcm=False, hsm=True))
    both = refine_block(8, RefineSpec(dcm=True, hsm=True))
    assert isinstance(hsm_only.context, CascadedContext)
    assert isinstance(both.context, DilatedConvolutionModule)


def test_dcm_alone_adds_the_gained_module_of_the_normalised_input():
    block = refine_block(8, RefineSpec(dcm=True, hsm=False, gain=0.5)).eval()
    x = torch.randn(1, 8, 12, 12)
    torch.testing.assert_close(block(x), x + 0.5 * block.context(block.norm(x)))


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


def test_hsm_multiplies_values_with_context_and_gates_its_mlp():
    context = CascadedContext(4)
    block = HybridSelfAttention(channels=4, context=context, gain=0.3).eval()
    x = torch.randn(1, 4, 9, 9)
    normed = block.norm(x)
    attended = x + 0.3 * block.project(context(normed) * block.value(normed))
    mlp = block.mlp
    hidden = mlp.widen(mlp.norm(attended))
    gated = mlp.norm(attended) + mlp.narrow(nn.functional.gelu(hidden) * hidden)
    torch.testing.assert_close(block(x), attended + 0.3 * gated)


def test_plain_context_sums_cascaded_rates_1_2_3():
    module = CascadedContext(4).eval()
    first, second, third = module.dilated
    x = torch.randn(1, 4, 15, 15)
    assert [block[0].dilation[0] for block in module.dilated] == [1, 2, 3]
    wanted = first(x) + second(first(x)) + third(second(first(x)))
    torch.testing.assert_close(module(x), wanted)


def test_channel_norm_normalises_every_pixel_on_its_own():
    out = ChannelNorm(16)(5 * torch.randn(2, 16, 3, 4) + 7)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)
