"""Tables between the stages: what one stage packs, the next unpacks unchanged."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import result_of, some_poses

from pipeline.inputs.units import LoadedImage, Reduction
from pipeline.output.schema import unit_table
from pipeline.stages.handover import AnnotatedUnit, LoadedUnit
from posrefine.errors import ImageStatus

SIZES = st.lists(st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6)


def loaded(index: int, size: tuple[int, int] | None) -> LoadedImage:
    if size is None:
        return LoadedImage(f"{index}.jpg", f"/d/{index}.jpg", ImageStatus.CORRUPT, "broken")
    height, width = size
    pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    return LoadedImage(
        f"{index}.jpg", f"/d/{index}.jpg", ImageStatus.OK, None, pixels, width, height, 6, "ff", 123
    )


@settings(deadline=None)
@given(sizes=SIZES)
def test_images_of_any_sizes_come_out_of_the_table_as_they_went_in(sizes: list[tuple[int, int] | None]):
    images = [loaded(index, size) for index, size in enumerate(sizes)]

    back = LoadedUnit.from_table(LoadedUnit("u1", 2, 0.5, images, {".json": 3}).to_table())

    assert back.skipped == {".json": 3}
    assert (back.unit_id, back.attempts, back.load_s) == ("u1", 2, 0.5)
    for before, after in zip(images, back.images, strict=True):
        assert dataclasses.replace(before, pixels=None) == dataclasses.replace(after, pixels=None)
        np.testing.assert_array_equal(before.pixels, after.pixels)


def test_an_image_that_was_decoded_smaller_comes_out_with_its_factor_and_its_whole_size():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    reduction = Reduction(4, beyond_x=1, beyond_y=3)
    image = LoadedImage(
        "a.jpg", "/d/a.jpg", ImageStatus.OK, None, pixels, 15, 9, 6, "ff", 123, reduction=reduction
    )
    (back,) = LoadedUnit.from_table(LoadedUnit("u1", 1, 0.0, [image]).to_table()).images
    assert (back.width, back.height, back.reduction) == (15, 9, reduction)
    np.testing.assert_array_equal(back.pixels, pixels)


def test_pixels_are_not_copied_on_their_way_out():
    table = LoadedUnit("u1", 1, 0.0, [loaded(0, (4, 5))]).to_table()
    (image,) = LoadedUnit.from_table(table).images
    assert image.pixels is not None
    assert not image.pixels.flags.owndata


def test_nothing_keeps_an_images_pixels_once_its_unit_was_handed_over():
    image = loaded(0, (4, 5))
    assert image.pixels is not None
    pixels = weakref.ref(image.pixels)
    table = LoadedUnit("u1", 1, 0.0, [image]).to_table()
    assert len(table) == 1
    del image
    assert pixels() is None


def test_pixels_that_lie_otherwise_in_memory_come_out_as_they_look():
    turned = np.moveaxis(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), 0, 2)
    image = dataclasses.replace(loaded(0, (4, 5)), pixels=turned)
    (back,) = LoadedUnit.from_table(LoadedUnit("u1", 1, 0.0, [image]).to_table()).images
    np.testing.assert_array_equal(back.pixels, turned)


@settings(deadline=None)
@given(sizes=SIZES)
def test_rows_reach_the_commit_as_inference_wrote_them(sizes: list[tuple[int, int] | None]):
    images = [loaded(index, size) for index, size in enumerate(sizes)]
    results = [
        result_of(image, None if size is None else some_poses(size[0], seed))
        for seed, (image, size) in enumerate(zip(images, sizes, strict=True))
    ]
    unit = AnnotatedUnit.of(
        LoadedUnit("u1", 1, 0.5, images),
        results,
        attempts=3,
        infer_s=2.0,
        predictor_s=1.5,
        busy_s=1.25,
        prepared="cpu, float32",
        prepare_s=0.7,
    )

    back = AnnotatedUnit.from_table(unit.to_table())

    assert back.attempts == 3
    assert (back.prepared, back.prepare_s) == ("cpu, float32", 0.7)
    assert back.input_bytes == 123 * sum(size is not None for size in sizes)
    assert back.rows.equals(unit_table("u1", results))
