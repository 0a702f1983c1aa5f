"""The attempt ledger: crashes are counted, errors and kills are not; those that kill are found."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.last_words import WorkerProcess
from pipeline.stages.quarantine import CRASHES_BEFORE_ISOLATION, Attempt, AttemptLedger

P, Q = WorkerProcess("p"), WorkerProcess("q")
CRASH, NOTHING = "Fatal Python error: Segmentation fault", ""


def test_an_attempt_that_ended_is_no_death():
    ledger = AttemptLedger()
    for _ in range(10):
        assert ledger.begin("load", "u", P).number == 1
        ledger.end("load", "u")
        assert ledger.died_at("load", "u") is None


def crashed(ledger: AttemptLedger, times: int, image: str | None = None, words: str = CRASH) -> None:
    for _ in range(times):
        ledger.begin("infer", "u", P)
        if image is not None:
            ledger.touch("infer", "u", image)
        assert ledger.died_at("infer", "u") == P
        ledger.bury(P, words)


def test_a_unit_is_isolated_after_three_crashes():
    ledger = AttemptLedger()
    for _ in range(CRASHES_BEFORE_ISOLATION):
        assert not ledger.begin("infer", "u", P).isolated
        ledger.bury(P, CRASH)
    assert ledger.is_isolated("infer", "u")
    assert ledger.begin("infer", "u", P).isolated


def test_stages_and_units_are_counted_apart():
    ledger = AttemptLedger()
    crashed(ledger, 5)
    assert ledger.begin("load", "u", P).number == 1
    assert ledger.begin("infer", "v", P).number == 1


def test_one_unlucky_crash_alone_does_not_quarantine_an_image():
    ledger = AttemptLedger()
    crashed(ledger, CRASHES_BEFORE_ISOLATION)
    crashed(ledger, 1, "innocent")
    assert ledger.begin("infer", "u", P).quarantined == frozenset()


def test_an_image_whose_time_is_over_is_named_and_costs_what_shares_its_process_nothing():
    ledger = AttemptLedger()
    ledger.begin("infer", "u", P)
    ledger.begin("infer", "v", P)
    ledger.begin("infer", "w", Q)
    ledger.time_out("infer", "u", "slow", P)
    again = ledger.begin("infer", "u", P)
    assert (again.timed_out, again.number, again.isolated) == (frozenset({"slow"}), 1, False)
    assert ledger.died_at("infer", "v") is None
    assert ledger.died_at("infer", "w") == Q


def test_what_was_killed_from_outside_goes_on_in_smaller_pieces_and_blames_nobody():
    ledger = AttemptLedger()
    held = []
    for _ in range(3):
        this = ledger.begin("infer", "u", P)
        held.append((this.less(1024), this.isolated))
        ledger.bury(P, NOTHING)
    assert held == [(1024, False), (256, False), (64, True)]
    crashed(ledger, 1, "large", NOTHING)
    assert not ledger.begin("infer", "u", P).doubtful
    crashed(ledger, 1, "large", NOTHING)
    this = ledger.begin("infer", "u", P)
    assert (this.quarantined, this.hopeless, this.given_up) == (frozenset(), False, None)
    assert this.doubtful == {"large"}
    assert ledger.kills() == 5


@pytest.mark.parametrize("image", ["large", ""])
def test_a_piece_that_cannot_be_smaller_and_is_killed_three_times_is_given_up_and_not_blamed(image: str):
    ledger = AttemptLedger()
    crashed(ledger, 2 + 3, image, NOTHING)
    this = ledger.begin("infer", "u", P)
    assert (this.given_up, this.quarantined, this.hopeless) == (image, frozenset(), False)


def test_a_ledger_that_was_restarted_takes_what_it_never_heard_of():
    ledger = AttemptLedger()
    ledger.touch("load", "u", "image")
    ledger.time_out("load", "v", "image", P)
    ledger.end("load", "w")
    ledger.bury(P, CRASH)
    assert ledger.begin("load", "u", P).number == 1


@dataclass
class Worker:
    """A process with the attempts in it, each at the next image of its unit."""

    process: WorkerProcess
    at_work: dict[str, tuple[Attempt, int]] = field(default_factory=dict)


@dataclass
class Cluster:
    """Plays Ray and the workers: units go to processes of two slots, and again after every death.

    An attempt that is not isolated announces no image, and dies of the first that kills.
    """

    ledger: AttemptLedger
    units: dict[str, list[str]]
    killers: set[str]
    chance: random.Random
    kills_left: int
    waiting: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    done: dict[str, frozenset[str]] = field(default_factory=dict)
    started: int = 0

    def run(self, workers: int) -> None:
        self.waiting = list(self.units)
        self.workers = [Worker(self._process()) for _ in range(workers)]
        moves: list[Callable[[], None]] = [self._take, self._work, self._work, self._work, self._kill]
        for _ in range(100_000):
            if len(self.done) == len(self.units):
                return
            self.chance.choice(moves)()
        raise AssertionError("it never ends")

    def _process(self) -> WorkerProcess:
        self.started += 1
        return WorkerProcess(str(self.started))

    def _take(self) -> None:
        """A worker begins a unit, if it has room and nobody in it must be alone."""
        worker = self.chance.choice(self.workers)
        if not self.waiting or len(worker.at_work) == 2:
            return
        unit = self.chance.choice(self.waiting)
        died_at = self.ledger.died_at("infer", unit)
        if died_at is not None:
            self.ledger.bury(died_at, self._words[died_at])
        alone = self.ledger.is_isolated("infer", unit)
        if worker.at_work and (alone or any(this.isolated for this, _ in worker.at_work.values())):
            return
        self.waiting.remove(unit)
        this = self.ledger.begin("infer", unit, worker.process)
        assert this.given_up is None
        worker.at_work[unit] = (this, 0)

    _words: dict[WorkerProcess, str] = field(default_factory=dict)

    def _work(self) -> None:
        """A worker goes on by an image of a unit."""
        worker = self.chance.choice(self.workers)
        if not worker.at_work:
            return
        unit = self.chance.choice(sorted(worker.at_work))
        this, position = worker.at_work[unit]
        if position == len(self.units[unit]):
            self.ledger.end("infer", unit)
            del worker.at_work[unit]
            self.done[unit] = this.quarantined
            return
        image = self.units[unit][position]
        worker.at_work[unit] = (this, position + 1)
        if this.leaves_out(image):
            return
        if this.isolated:
            self.ledger.touch("infer", unit, image)
        if image in self.killers:
            self._die(worker, CRASH)

    def _kill(self) -> None:
        """From outside: for memory, with its machine, or by a person."""
        if self.kills_left and self.chance.random() < 0.1:
            self.kills_left -= 1
            self._die(self.chance.choice(self.workers), NOTHING)

    def _die(self, worker: Worker, words: str) -> None:
        self._words[worker.process] = words
        self.waiting += worker.at_work
        worker.at_work, worker.process = {}, self._process()


@settings(max_examples=300)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    killers=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))),
    workers=st.integers(1, 3),
    kills=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_exactly_the_images_that_kill_are_blamed_whatever_their_number_and_place(
    sizes: list[int], killers: set[tuple[int, int]], workers: int, kills: int, seed: int
):
    units = {str(unit): [f"{unit}/{image}" for image in range(size)] for unit, size in enumerate(sizes)}
    deadly = {f"{unit}/{image}" for unit, image in killers if unit < len(sizes) and image < sizes[unit]}
    cluster = Cluster(AttemptLedger(), units, deadly, random.Random(seed), kills)

    cluster.run(workers)

    assert frozenset().union(*cluster.done.values()) == deadly
