"""The library leaves the process's allocator alone, until a program asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

WATCHED = """
import ctypes, sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
import posrefine.freed_memory as freed_memory

asked = []
freed_memory.ctypes = type("Watched", (), {"CDLL": staticmethod(lambda name: asked.append(name) or object())})

from support.training import small_recipe, small_stream, small_trainer
from posrefine import Predictor, build_model

recipe = small_recipe()
small_trainer(recipe).train_step(small_stream(recipe)[0])
Predictor(build_model("posrefine_tiny"), input_size=64)([np.zeros((64, 64, 3), np.uint8)])
before = len(asked)
freed_memory.keep_freed_memory()
print(before, len(asked))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere than on Linux nothing is done")
def test_neither_a_predictor_nor_a_training_changes_how_the_process_allocates(request: pytest.FixtureRequest):
    tests = str(request.config.rootpath / "tests")
    done = subprocess.run([sys.executable, "-c", WATCHED, tests], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
