from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.labelled import labelled_image

from posrefine.training.samples import LabelledImage
from posrefine.training.targets import TargetSpec, make_batch

SPEC = TargetSpec()


def one_person(*joints: tuple[float, float, float], **size: object):
    return labelled_image([list(joints)], **size)


def targets_of(image: LabelledImage) -> SimpleNamespace:
    """Of an image alone, as arrays without the batch's dimension."""
    batch = make_batch([image], SPEC)
    arrays = {
        name: getattr(batch, name)[0].numpy()
        for name in ("heatmap", "heatmap_weight", "offset", "offset_weight")
    }
    return SimpleNamespace(persons=batch.persons, **arrays)


def test_a_joint_is_a_gaussian_of_sigma_two_around_its_exact_position():
    targets = targets_of(one_person((42, 60, 2)))
    rows, columns = np.mgrid[:32, :32]
    expected = np.exp(-((columns - 10.5) ** 2 + (rows - 15) ** 2) / (2 * 2.0**2))
    near = expected > 0.02
    np.testing.assert_allclose(targets.heatmap[0][near], expected[near], rtol=1e-5)


@pytest.mark.parametrize(("x_px", "is_learnt"), [(-0.6, 0), (-0.5, 1), (-0.1, 1), (127.5, 1), (127.6, 0)])
def test_a_joint_anywhere_on_the_outermost_pixels_is_learnt_and_one_beyond_them_is_not(x_px, is_learnt):
    """Pixel 0 reaches from -0.5 to 0.5, and the last of 128 to 127.5."""
    targets = targets_of(one_person((x_px, 60, 2), (64, 60, 2)))
    assert (targets.heatmap[0].max() > 0.5) == is_learnt
    assert (targets.offset_weight[:2].max() > 0) == is_learnt
    upright = targets_of(one_person((60, x_px, 2), (60, 64, 2)))
    assert (upright.heatmap[0].max() > 0.5) == is_learnt


def test_the_centre_is_the_mean_of_the_labelled_joints_on_the_last_channel():
    targets = targets_of(one_person((40, 40, 2), (80, 80, 1), (0, 0, 0)))
    assert targets.heatmap.shape == (4, 32, 32)
    assert np.unravel_index(targets.heatmap[3].argmax(), (32, 32)) == (15, 15)
    assert targets.heatmap[3, 15, 15] == 1.0
    assert targets.heatmap[3, 15, 19] == pytest.approx(np.exp(-0.5))
    assert targets.heatmap[2].max() == 0


def test_where_two_persons_meet_the_higher_value_stays():
    both = targets_of(labelled_image([[(40, 40, 2)], [(52, 40, 2)]]))
    single = [targets_of(labelled_image([[(x, 40, 2)]])) for x in (40, 52)]
    np.testing.assert_array_equal(both.heatmap, np.maximum(single[0].heatmap, single[1].heatmap))


def test_a_person_below_the_area_limit_keeps_joints_but_gets_no_centre_and_no_offsets():
    targets = targets_of(one_person((40, 40, 2), area_px2=32.0**2 - 1))
    assert targets.heatmap[0].max() == 1.0
    assert targets.heatmap[1].max() == 0
    assert targets.offset_weight.max() == 0
    assert targets.persons == 0


def test_background_counts_a_tenth_and_the_neighbourhood_of_a_joint_counts_fully():
    weight = targets_of(one_person((64, 64, 2))).heatmap_weight
    assert weight[0, 16, 16] == 1.0
    assert weight[0, 16, 22] == 1.0
    assert weight[0, 16, 28] == pytest.approx(0.1)


def test_ignored_regions_do_not_count_for_heatmaps():
    image = one_person((64, 64, 2))
    ignored = image.ignored.copy()
    ignored[:, 64:] = True
    weight = targets_of(replace(image, ignored=ignored)).heatmap_weight
    assert weight[:, :, 16:].max() == 0
    assert weight[:, :, :16].min() > 0


def test_offsets_lead_from_every_cell_of_the_square_to_the_joint():
    targets = targets_of(one_person((40, 40, 2), (81, 83, 2), diagonal_px=50))
    rows, columns = np.nonzero(targets.offset_weight[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 18, 11, 18)
    for joint, (x, y) in enumerate([(10, 10), (20.25, 20.75)]):
        np.testing.assert_allclose(columns - targets.offset[2 * joint, rows, columns], x, rtol=1e-6)
        np.testing.assert_allclose(rows - targets.offset[2 * joint + 1, rows, columns], y, rtol=1e-6)
    assert targets.offset_weight[0, 15, 15] == pytest.approx(1 / 50)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_smaller_person_wins_an_overlap(order: tuple[int, int]):
    persons = [[(40, 40, 2)], [(48, 40, 2)]]
    image = labelled_image([persons[i] for i in order], diagonal_px=[(200.0, 20.0)[i] for i in order])
    targets = targets_of(image)
    assert targets.offset_weight[0, 10, 11] == pytest.approx(1 / 20)
    assert 11 - targets.offset[0, 10, 11] == 12
    assert targets.offset_weight[0, 10, 7] == pytest.approx(1 / 200)
    assert 7 - targets.offset[0, 10, 7] == 10


def test_joints_outside_the_image_leave_no_trace():
    targets = targets_of(one_person((-1, 40, 2), (40, 128, 2), (60, 60, 2)))
    assert targets.heatmap[0].max() == targets.heatmap[1].max() == 0
    assert targets.heatmap[2].max() == 1.0
    assert targets.offset_weight[:4].max() == 0


def test_an_image_without_persons_is_all_background():
    targets = targets_of(labelled_image(np.zeros((0, 17, 3))))
    assert targets.heatmap.shape == (18, 32, 32)
    assert targets.heatmap.max() == 0
    assert targets.offset.shape == (34, 32, 32)
    assert np.all(targets.heatmap_weight == np.float32(0.1))


PERSONS = st.lists(
    st.lists(
        st.tuples(st.floats(-20, 148), st.floats(-20, 148), st.sampled_from([0, 1, 2])),
        min_size=5,
        max_size=5,
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(PERSONS)
def test_targets_are_finite_and_never_above_one(persons: list[list[tuple[float, float, int]]]):
    image = labelled_image(np.asarray(persons, np.float32).reshape(-1, 5, 3))
    targets = targets_of(image)
    for array in (targets.heatmap, targets.heatmap_weight):
        assert array.min() >= 0
        assert array.max() <= 1
    assert np.isfinite(targets.offset).all()
    assert np.all(targets.offset[targets.offset_weight == 0] == 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(PERSONS, min_size=1, max_size=3))
def test_every_image_of_a_batch_gets_the_targets_it_would_get_alone(
    images: list[list[list[tuple[float, float, int]]]],
):
    labelled = [labelled_image(np.asarray(persons, np.float32).reshape(-1, 5, 3)) for persons in images]
    batch = make_batch(labelled, SPEC)
    alone = [targets_of(image) for image in labelled]
    assert batch.images.shape == (len(images), 128, 128, 3)
    assert batch.persons == sum(targets.persons for targets in alone)
    for name in ("heatmap", "heatmap_weight", "offset", "offset_weight"):
        np.testing.assert_array_equal(getattr(batch, name), [getattr(targets, name) for targets in alone])


def test_joints_that_a_data_set_does_not_label_are_neither_taught_nor_denied():
    image = one_person((40, 40, 2), (80, 80, 2), (0, 0, 0))
    known = replace(image, known_joints=np.array([True, True, False]))
    whole, partly = targets_of(image), targets_of(known)
    assert (whole.heatmap_weight[2] > 0).all()
    assert (partly.heatmap_weight[2] == 0).all()
    for channel in (0, 1, 3):
        np.testing.assert_array_equal(partly.heatmap_weight[channel], whole.heatmap_weight[channel])
    np.testing.assert_array_equal(partly.offset_weight, whole.offset_weight)
