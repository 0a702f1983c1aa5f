"""Images at which processes ended in silence: a child decodes them first, and how it ends is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.bad_decoders import WAYS

from pipeline.stages.image_guard import ImageGuard
from pipeline.stages.quarantine import Attempt, OpenAttempt
from posrefine.errors import ImageError, ImageStatus

IMAGE = "s3://bucket/doubtful.jpg"


def guard(limit_s: float = 60.0, time_out: Callable[[str], None] = lambda uri: None) -> ImageGuard:
    this = Attempt(5, True, frozenset(), frozenset(), False, kills=4, doubtful=frozenset({IMAGE}))
    return ImageGuard(OpenAttempt(this, lambda uri: None, time_out), limit_s)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("_exit", "exits with 3"),
        ("exit", "exits with 3"),
        ("exit well", "exits with 0"),
        ("crash", "signal 11"),
    ],
)
def test_a_decoder_that_ends_its_process_is_found_out_and_costs_its_own_row(way: str, words: str):
    here = os.getpid()
    with pytest.raises(ImageError, match=words) as raised, guard()(IMAGE):
        WAYS[way]() if os.getpid() != here else pytest.fail("it was decoded here")
    assert raised.value.status is ImageStatus.WORKER_DIED
    assert os.getpid() == here


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="on_exit is glibc's")
def test_what_libraries_would_do_on_exit_does_not_hold_up_a_child():
    program = f"""
import ctypes, os, sys, time
sys.path[:0] = {sys.path!r}
from support.bad_decoders import WAYS
from pipeline.stages.image_guard import ImageGuard
from pipeline.stages.quarantine import Attempt, OpenAttempt
from posrefine.errors import ImageError
here = os.getpid()
hang = ctypes.CFUNCTYPE(None)(lambda: time.sleep(600) if os.getpid() != here else None)
ctypes.CDLL(None).__cxa_atexit(hang, None, None)
this = Attempt(5, True, frozenset(), frozenset(), False, kills=4, doubtful=frozenset([{IMAGE!r}]))
try:
    with ImageGuard(OpenAttempt(this, lambda uri: None, print), 20)({IMAGE!r}):
        WAYS["exit"]()
except ImageError as error:
    print(error, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "exits with 3" in done.stdout, (done.stdout, done.stderr)


def test_a_decoder_that_comes_through_in_the_child_decodes_here_as_well():
    done = []
    with guard()(IMAGE):
        done.append(os.getpid())
    assert done == [os.getpid()]


def test_an_image_that_is_found_to_be_none_is_that_here_as_well():
    with pytest.raises(ImageError, match="no picture"), guard()(IMAGE):
        raise ImageError(ImageStatus.CORRUPT, "no picture")


def test_others_are_decoded_in_this_process_alone():
    with guard()("s3://bucket/other.jpg"):
        os.environ["POSREFINE_SEEN"] = "here"
    assert os.environ.pop("POSREFINE_SEEN") == "here"


@pytest.mark.parametrize(("way", "said"), [("kill", ""), ("hang", IMAGE)])
def test_a_child_that_is_killed_is_as_if_its_parent_were_and_one_that_hangs_is_out_of_time(
    way: str, said: str
):
    """The worker ends: silently, so that the ledger counts a kill, or having told which image it was."""
    program = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from support.bad_decoders import WAYS
from pipeline.stages.image_guard import ImageGuard
from pipeline.stages.quarantine import Attempt, OpenAttempt
this = Attempt(5, True, frozenset(), frozenset(), False, kills=4, doubtful=frozenset([{IMAGE!r}]))
opened = OpenAttempt(this, lambda uri: None, lambda uri: print(uri, flush=True))
with ImageGuard(opened, 0.5)({IMAGE!r}):
    time.sleep(600) if {way!r} == "hang" else WAYS[{way!r}]()
print("came through", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (1, said), done.stderr
