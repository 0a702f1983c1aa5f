"""Which images share a forward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from posrefine.inference.pixels.resize import ResizePlan

__all__ = ["equal_sized", "micro_batches"]


def micro_batches(
    plans: Sequence[ResizePlan], views_per_scale: int, max_batch_pixels: int
) -> Iterator[list[int]]:
    """Groups images whose network inputs have the same sizes.

    Args:
        plans: one per image.
        views_per_scale: inputs of each size per image: 2 with a mirrored view.
        max_batch_pixels: all inputs of one size in a batch have at most as many pixels together, which bounds
            the memory; an image that has more by itself goes alone.

    Yields:
        Positions in `plans`: every image once, equal image sizes next to each other.
    """
    buckets: defaultdict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for index, plan in enumerate(plans):
        buckets[plan.input_hw].append(index)
    for indices in buckets.values():
        indices.sort(key=lambda index: plans[index].image_hw)
        size = max(1, max_batch_pixels // (plans[indices[0]].largest_pixels * views_per_scale))
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def equal_sized(indices: Sequence[int], plans: Sequence[ResizePlan]) -> Iterator[list[int]]:
    """Splits a batch into images of equal size, which are warped together."""
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index in indices:
        groups[plans[index].image_hw].append(index)
    yield from groups.values()
