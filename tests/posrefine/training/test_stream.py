from __future__ import annotations

import numpy as np
import torch
from support.training import small_recipe, small_stream


def test_a_batch_is_a_function_of_its_step_alone():
    stream = small_stream(small_recipe())
    torch.testing.assert_close(stream[2].images, small_stream(small_recipe())[2].images, rtol=0, atol=0)
    assert not torch.equal(stream[2].images, stream[1].images)


def test_ranks_share_a_step_without_overlap():
    recipe = small_recipe(batch_size=4)
    whole = small_stream(recipe)[0]
    parts = [small_stream(recipe, rank=rank, world_size=2)[0] for rank in range(2)]
    merged = torch.stack([parts[0].images, parts[1].images], 1).flatten(0, 1)
    torch.testing.assert_close(merged, whole.images, rtol=0, atol=0)


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own():
    class Recording:
        def __init__(self, inner):
            self.inner, self.seen = inner, []

        def __len__(self):
            return len(self.inner)

        def __getitem__(self, position):
            self.seen.append(position)
            return self.inner[position]

    stream = small_stream(small_recipe(total_steps=5))
    recording = Recording(stream.source)
    object.__setattr__(stream, "source", recording)
    for step in range(5):
        stream[step]
    first, second = recording.seen[:5], recording.seen[5:]
    assert sorted(first) == sorted(second) == list(range(5))
    assert first != second


def test_views_grow_with_the_recipe():
    recipe = small_recipe(input_sizes_px=((0.0, 32), (0.5, 96)))
    stream = small_stream(recipe)
    assert [stream[step].images.shape[1] for step in range(4)] == [32, 32, 96, 96]
    assert stream[0].images.numpy().dtype == np.uint8
