"""What the workers of the stages cost: their start, and the memory that comes and goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.stages.cluster import NodeResources, cluster_layout
from pipeline.stages.shares import COMMIT_CPUS, LOAD_CPUS

ROOT = Path(__file__).parents[3]

SAME_WORKER = """
import os
import time

import ray

from pipeline.ray_session import ray_session

with ray_session():

    @ray.remote
    class Actor:
        def ready(self):
            return True

    @ray.remote(num_cpus=0.5)
    def worker():
        return os.getpid()

    busy = Actor.options(num_cpus=ray.cluster_resources()["CPU"] - 0.5).remote()
    ray.get(busy.ready.remote())
    first = ray.get(worker.remote())
    # Nothing tells that a worker was left alone: this is four times as long as Ray leaves one by itself.
    time.sleep(4)
    print("the same" if ray.get(worker.remote()) == first else "another")
"""

PAGES = """
import resource

import numpy as np

from posrefine.freed_memory import keep_freed_memory

keep_freed_memory(8 * 2**20)


def pages_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    images = [np.ones(2**20, np.uint8) for _ in range(100)]
    del images
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


print(pages_taken(), pages_taken())
"""


def said_by(program: str) -> str:
    environment = os.environ | {"RAY_ADDRESS": "local"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_workers_that_load_and_commit_start_without_torch():
    assert said_by("import sys, pipeline.stages.tasks; print('torch' in sys.modules)") == "False"


def test_a_worker_that_has_nothing_to_do_for_seconds_is_there_for_the_next_unit():
    assert said_by(SAME_WORKER).splitlines()[-1] == "the same"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc that is told to keep memory")
def test_memory_of_one_units_images_serves_the_next_ones():
    first, second = map(int, said_by(PAGES).split())
    assert first > 20_000
    assert second < 1_000


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.8, 1.0])
def test_ray_does_not_fuse_stages_whose_actors_have_a_usual_share_of_a_cpu(share: float):
    # A decoder that crashes its process would take the network with it.
    assert share not in (LOAD_CPUS, COMMIT_CPUS)


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8, 16, 64])
def test_nor_where_each_core_has_an_actor(cpus: int):
    settings = {"input": "/in", "output": "/out", "model": "m", "weights": "untrained"}
    plan = cluster_layout(load_settings(RunSettings, settings), [NodeResources(cpus, 0)])
    assert len({plan.load_cpus, plan.commit_cpus, plan.cpus_per_actor}) == 3
