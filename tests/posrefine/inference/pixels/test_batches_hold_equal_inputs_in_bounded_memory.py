"""Which images share a forward pass."""

import math

from hypothesis import given
from hypothesis import strategies as st

from posrefine.inference.pixels.batching import equal_sized, micro_batches
from posrefine.inference.pixels.resize import plan_resize
from posrefine.test_protocols import OFFICIAL

sizes = st.lists(
    st.tuples(st.sampled_from([60, 61, 80, 100]), st.sampled_from([60, 61, 80, 200])), max_size=40
)

limits = st.integers(1, 12).map(lambda inputs: inputs * 128 * 128)


@given(sizes, st.sampled_from([1, 2]), limits)
def test_every_image_is_in_one_batch_of_equal_inputs_within_the_limit(image_sizes, views, limit):
    plans = [plan_resize(hw, 64, (0.5, 1.0, 2.0), OFFICIAL) for hw in image_sizes]
    batches = list(micro_batches(plans, views, limit))
    assert sorted(index for batch in batches for index in batch) == list(range(len(plans)))
    for batch in batches:
        assert len({plans[index].input_hw for index in batch}) == 1
        pixels = len(batch) * views * math.prod(plans[batch[0]].input_hw[0])
        assert pixels <= limit or len(batch) == 1


@given(sizes)
def test_a_batch_falls_into_runs_of_equal_images_without_changing_its_order(image_sizes):
    plans = [plan_resize(hw, 64, (1.0,), OFFICIAL) for hw in image_sizes]
    for batch in micro_batches(plans, 2, 2**20):
        groups = list(equal_sized(batch, plans))
        assert [index for group in groups for index in group] == batch
        assert all(len({plans[index].image_hw for index in group}) == 1 for group in groups)
