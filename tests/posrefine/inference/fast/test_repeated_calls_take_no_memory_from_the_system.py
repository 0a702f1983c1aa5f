"""In the steady state a predictor works in memory that the process has already, if that keeps it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from posrefine import Predictor, build_model
from posrefine.inference.fast.backend import Backend, Library

WARM_CALLS, CALLS = 10, 20
PAGES_OF_A_SINGLE_MAP = 64 * 64 * 16 * 2 // 4096
"""What the finest branch's map of one view of 256 px would take in bfloat16, were it allocated anew."""

CALL_AND_COUNT = f"""
import json, resource, sys
import numpy as np, torch
from posrefine import Predictor, build_model
from posrefine.freed_memory import keep_freed_memory

keep_freed_memory()
torch.set_num_threads(1)
predictor = Predictor(build_model("posrefine_tiny"), input_size=256, precision=sys.argv[1])
rng = np.random.default_rng(0)
images = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(4)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    predictor(images)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(json.dumps([faults() for _ in range({WARM_CALLS + CALLS})]))
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="freed memory is kept through glibc, which is not here"
)
@pytest.mark.parametrize(
    "precision",
    [
        "float32",
        pytest.param(
            "bfloat16",
            # Else torch's own convolution copies what every output cell of the batch sees into one block,
            # 54 MiB here, and glibc can be told to keep blocks of 32 MiB at most. `auto` is float32 there.
            marks=pytest.mark.skipif(
                Backend.of(torch.device("cpu"), torch.bfloat16).library is not Library.ONEDNN,
                reason="oneDNN does not convolve in bfloat16 on this CPU",
            ),
        ),
    ],
)
def test_on_a_cpu_repeated_calls_touch_no_fresh_page(precision: str):
    # A process of its own: here other tests have left memory behind that would hide what a call asks for.
    finished = subprocess.run(
        [sys.executable, "-c", CALL_AND_COUNT, precision], capture_output=True, text=True, check=True
    )
    first, *_ = faults = json.loads(finished.stdout)
    assert first > 100 * PAGES_OF_A_SINGLE_MAP
    # The heap grows once more, now and then, by what no longer fits a gap between small blocks. When depends
    # on the addresses that the process was given: without their randomisation the counts are the same in
    # every process. Memory asked of the system in every call, or kept by every call, shows in every count.
    warm = faults[WARM_CALLS:]
    assert sum(pages < PAGES_OF_A_SINGLE_MAP for pages in warm) >= CALLS * 3 // 4
    assert sum(warm) < first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_repeated_calls_allocate_no_device_memory():
    predictor = Predictor(build_model("posrefine_tiny"), input_size=256, device="cuda")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(4)]
    for _ in range(WARM_CALLS):
        predictor(images)
    before = torch.cuda.memory_stats()["num_device_alloc"]
    for _ in range(CALLS):
        predictor(images)
    assert torch.cuda.memory_stats()["num_device_alloc"] == before
