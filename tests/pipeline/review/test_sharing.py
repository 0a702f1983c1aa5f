"""Who gets which image."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.labels import ReviewTask
from pipeline.review.sharing import shared_out
from posrefine.errors import ConfigurationError

PEOPLE = ("ann", "ben", "cy", "di")


def tasks(count: int) -> list[ReviewTask]:
    return [ReviewTask(f"{n}.jpg", f"{n:064x}", f"/{n}.jpg", 9, 9, "", ()) for n in range(count)]


def keys_of(shares: dict[str | None, tuple[ReviewTask, ...]]) -> dict[str | None, list[str]]:
    return {name: [task.image_key for task in share] for name, share in shares.items()}


@given(
    count=st.integers(0, 60),
    people=st.integers(1, 4),
    overlap=st.floats(0, 1),
    seed=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_every_image_has_a_reviewer_as_many_as_wanted_have_two_and_shares_are_of_one_size(
    count: int, people: int, overlap: float, seed: int, order: random.Random
):
    overlap = overlap if people > 1 else 0.0
    asked = tasks(count)
    shares = shared_out(asked, PEOPLE[:people], overlap, seed)
    assert list(shares) == list(PEOPLE[:people])
    times = Counter(task.image_key for share in shares.values() for task in share)
    assert set(times) == {task.image_key for task in asked}
    assert Counter(times.values())[2] == round(overlap * count)
    assert set(times.values()) <= {1, 2}
    for name, share in shares.items():
        assert all(task.reviewer == name for task in share)
        assert len({task.image_key for task in share}) == len(share)
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 3
    shuffled = order.sample(asked, len(asked))
    again = keys_of(shared_out(shuffled, PEOPLE[:people], overlap, seed))
    assert {name: sorted(share) for name, share in again.items()} == {
        name: sorted(share) for name, share in keys_of(shares).items()
    }


def test_another_seed_makes_other_shares_and_pairs_of_reviewers_change():
    asked = tasks(200)
    first, second = (keys_of(shared_out(asked, PEOPLE, 0.5, seed)) for seed in (0, 1))
    assert first != second
    pairs = Counter(
        frozenset(name for name, share in first.items() if task.image_key in share) for task in asked
    )
    assert sum(len(pair) == 2 for pair in pairs) == 6


@given(
    overlap=st.floats(0, 1),
    looked=st.lists(st.tuples(st.integers(0, 29), st.sampled_from([*PEOPLE, "eve"])), max_size=40),
)
def test_what_was_looked_at_is_left_out_and_the_rest_stays_with_whom_it_was(
    overlap: float, looked: list[tuple[int, str]]
):
    asked, seen = tasks(30), dict[str, frozenset[str]]()
    for number, name in looked:
        sha256 = f"{number:064x}"
        seen[sha256] = seen.get(sha256, frozenset()) | {name}
    before = keys_of(shared_out(asked, PEOPLE, overlap))
    after = keys_of(shared_out(asked, PEOPLE, overlap, seen=seen))
    wanted, still = (Counter(key for share in one.values() for key in share) for one in (before, after))
    for task in asked:
        names = seen.get(task.sha256, frozenset())
        missing = max(0, wanted[task.image_key] - len(names))
        assert still[task.image_key] == missing
        for name in PEOPLE:
            if task.image_key in after[name]:
                assert task.image_key in before[name]
                assert name not in names
    left = [task.image_key for task in asked if task.sha256 not in seen]
    assert keys_of(shared_out(asked, (), seen=seen)) == {None: left}


def test_without_reviewers_all_tasks_are_anybodys_in_their_order():
    asked = tasks(5)
    assert keys_of(shared_out(asked, ())) == {None: [task.image_key for task in asked]}


@pytest.mark.parametrize(
    ("people", "overlap", "words"),
    [
        (["ann/ben"], 0.0, "wanted names of letters"),
        ([".."], 0.0, "wanted names of letters"),
        (["ann", "Ann"], 0.0, "every one once"),
        (["Model"], 0.0, "what tables call the network's rows"),
        (["ann"], 0.2, "two or more"),
        (["ann", "ben"], 1.5, "0 to 1"),
        (["ann", "ben"], float("nan"), "0 to 1"),
    ],
)
def test_names_that_are_no_names_of_files_and_overlaps_of_one_person_are_refused(
    people: list[str], overlap: float, words: str
):
    with pytest.raises(ConfigurationError, match=words):
        shared_out(tasks(3), people, overlap)
