"""The attempt ledger: deaths are counted, errors are not, and the image that kills is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.quarantine import DEATHS_BEFORE_ISOLATION, AttemptLedger


def test_an_attempt_that_ended_is_no_death():
    ledger = AttemptLedger()
    for _ in range(10):
        assert ledger.begin("load", "u").number == 1
        ledger.end("load", "u")


def test_a_unit_is_isolated_after_three_deaths():
    ledger = AttemptLedger()
    isolated = [ledger.begin("infer", "u").isolated for _ in range(DEATHS_BEFORE_ISOLATION + 1)]
    assert isolated == [False, False, False, True]


def test_stages_and_units_are_counted_apart():
    ledger = AttemptLedger()
    for _ in range(5):
        ledger.begin("load", "u")
    assert ledger.begin("infer", "u").number == 1
    assert ledger.begin("load", "v").number == 1


@given(killers=st.sets(st.integers(0, 7)), images=st.integers(1, 8))
def test_exactly_the_images_that_kill_are_quarantined(killers: set[int], images: int):
    """Plays worker and Ray: begins again after every death, until an attempt comes through."""
    ledger = AttemptLedger()
    done: list[int] = []
    for _ in range(100):
        this = ledger.begin("infer", "u")
        if not this.isolated:
            if killers & set(range(images)):
                continue
            done = list(range(images))
            ledger.end("infer", "u")
            break
        alive = []
        for image in range(images):
            if str(image) in this.quarantined:
                continue
            ledger.touch("infer", "u", str(image))
            if image in killers:
                break
            alive.append(image)
        else:
            ledger.end("infer", "u")
            done = alive
            break
    assert done == [image for image in range(images) if image not in killers]


def test_an_image_whose_time_is_over_is_named_and_counts_as_no_death():
    ledger = AttemptLedger()
    ledger.begin("load", "u")
    ledger.time_out("load", "u", "slow")
    again = ledger.begin("load", "u")
    assert (again.timed_out, again.number, again.isolated) == (frozenset({"slow"}), 1, False)


def test_one_unlucky_death_alone_does_not_quarantine_an_image():
    ledger = AttemptLedger()
    for _ in range(DEATHS_BEFORE_ISOLATION + 1):
        ledger.begin("infer", "u")
    ledger.touch("infer", "u", "innocent")
    assert ledger.begin("infer", "u").quarantined == frozenset()
