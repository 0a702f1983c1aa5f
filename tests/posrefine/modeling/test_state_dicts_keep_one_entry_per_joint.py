import copy

import pytest
import torch

from posrefine.modeling.adaptive_conv import regular_matrix
from posrefine.modeling.heads import AdaptiveStack, OffsetLayer

JOINTS, CHANNELS, BLOCKS = 3, 4, 2


def a_stack() -> AdaptiveStack:
    stack = AdaptiveStack(JOINTS, CHANNELS, BLOCKS).eval()
    with torch.no_grad():
        for tensor in (*stack.parameters(), *(b for b in stack.buffers() if b.is_floating_point())):
            tensor.uniform_(0.5, 1.5)
    return stack


def test_the_names_and_shapes_of_an_adaptive_stack_are_dekrs():
    wanted = {
        "regular_matrix": (2, 9),
        "transform_matrix_conv.weight": (4, CHANNELS, 3, 3),
        "transform_matrix_conv.bias": (4,),
        "translation_conv.weight": (2, CHANNELS, 3, 3),
        "translation_conv.bias": (2,),
        "adapt_conv.weight": (CHANNELS, CHANNELS, 3, 3),
        "bn.weight": (CHANNELS,),
        "bn.bias": (CHANNELS,),
        "bn.running_mean": (CHANNELS,),
        "bn.running_var": (CHANNELS,),
        "bn.num_batches_tracked": (),
    }
    found = {name: tuple(tensor.shape) for name, tensor in a_stack().state_dict().items()}
    assert found == {
        f"{joint}.{block}.{name}": shape
        for joint in range(JOINTS)
        for block in range(BLOCKS)
        for name, shape in wanted.items()
    }


def test_the_names_and_shapes_of_the_offset_layer_are_dekrs():
    found = {name: tuple(tensor.shape) for name, tensor in OffsetLayer(JOINTS, CHANNELS).state_dict().items()}
    assert found == {
        f"{joint}.{name}": shape
        for joint in range(JOINTS)
        for name, shape in (("weight", (2, CHANNELS, 1, 1)), ("bias", (2,)))
    }


def test_each_joint_reads_only_its_own_entries():
    stack, x = a_stack(), torch.randn(1, JOINTS * CHANNELS, 5, 5)
    before = stack(x)
    state = stack.state_dict()
    for name in state:
        if name.startswith("1.") and name.endswith("adapt_conv.weight"):
            state[name] = -state[name]
    stack.load_state_dict(state)
    changed = (stack(x) != before).any(dim=(0, 2, 3)).view(JOINTS, CHANNELS).any(dim=1)
    assert changed.tolist() == [False, True, False]


@pytest.mark.parametrize("copied", [False, True], ids=["the module", "a deep copy of it"])
def test_loading_what_was_saved_restores_everything(copied):
    source, target = a_stack(), AdaptiveStack(JOINTS, CHANNELS, BLOCKS).eval()
    if copied:
        target = copy.deepcopy(target)
    target.load_state_dict(source.state_dict())
    x = torch.randn(1, JOINTS * CHANNELS, 5, 5)
    assert torch.equal(target(x), source(x))


def test_a_missing_joints_entry_is_named_and_the_others_load():
    source, target = a_stack(), AdaptiveStack(JOINTS, CHANNELS, BLOCKS)
    state = source.state_dict()
    del state["2.1.adapt_conv.weight"]
    result = target.load_state_dict(state, strict=False)
    assert result.missing_keys == ["2.1.adapt_conv.weight"]
    loaded = target.state_dict()
    assert torch.equal(loaded["1.1.adapt_conv.weight"], state["1.1.adapt_conv.weight"])


def test_a_joint_too_many_is_unexpected():
    state = a_stack().state_dict()
    state[f"{JOINTS}.0.adapt_conv.weight"] = state["0.0.adapt_conv.weight"]
    with pytest.raises(RuntimeError, match=r"Unexpected key.*3\.0\.adapt_conv\.weight"):
        AdaptiveStack(JOINTS, CHANNELS, BLOCKS).load_state_dict(state)


def test_an_entry_of_another_shape_is_refused_by_name():
    state = a_stack().state_dict()
    state["1.0.translation_conv.bias"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.0\.translation_conv\.bias: .*\[3\].*\[2\]"):
        AdaptiveStack(JOINTS, CHANNELS, BLOCKS).load_state_dict(state)


def test_another_sampling_grid_than_the_regular_one_is_refused():
    state = a_stack().state_dict()
    state["0.0.regular_matrix"] = regular_matrix(torch.zeros(())).flip(0)
    with pytest.raises(RuntimeError, match=r"0\.0\.regular_matrix is .* must be"):
        AdaptiveStack(JOINTS, CHANNELS, BLOCKS).load_state_dict(state)
