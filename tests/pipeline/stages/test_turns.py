"""Turns in a process: many together, or one alone."""

from __future__ import annotations

import random
import threading
import time

import pytest

from pipeline.stages.turns import Turns


def test_who_must_be_alone_is_alone_and_the_others_are_together():
    turns, at_work, most = Turns(), set[tuple[int, bool]](), [0]
    seen_beside: list[tuple[int, bool]] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(20):
            me = (number, chance.random() < 0.3)
            with turns.turn(alone=me[1]):
                at_work.add(me)
                most[0] = max(most[0], len(at_work))
                time.sleep(0.001)
                if any(alone for _, alone in at_work) and len(at_work) > 1:
                    seen_beside.append(me)
                at_work.discard(me)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not seen_beside
    assert most[0] > 1


def test_a_turn_that_ends_with_an_error_is_over():
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns.turn(alone=True):
        raise ValueError("x")
    with turns.turn(alone=True):
        pass
