"""A cluster without machines for the inference actors: which one is asked for, and what is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from support.annotation import annotate, some_images, write_images
from support.ray_cluster import started_cluster

from pipeline.driver import machines
from pipeline.driver.machines import wait_for_machines
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.stages.cluster import NodeResources
from posrefine.errors import ActorsUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


def settings_of(**changes: object) -> RunSettings:
    needed = {"input": "/in", "output": "/out", "model": "m", "weights": "untrained"}
    return load_settings(RunSettings, needed | changes)


@pytest.fixture(scope="module")
def head_alone() -> Iterator[str]:
    """A cluster whose only machine has no CPUs."""
    with started_cluster({}, num_cpus=0) as address:
        yield address


def test_machines_of_a_cluster_that_stays_as_it_is_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch):
    found = [NodeResources(2, 0)]
    monkeypatch.setattr(machines, "cluster_nodes", lambda: found)
    # Four do not fit, which the layout says.
    settings = settings_of(actors=4)
    assert wait_for_machines(settings) == (settings, found)


@pytest.mark.usefixtures("head_alone")
def test_the_first_machine_that_has_place_ends_the_wait_and_the_cluster_counts_as_one_that_grows(
    monkeypatch: pytest.MonkeyPatch,
):
    small, fitting = NodeResources(16, 0), NodeResources(16, 1)
    looks = iter([[], [], [small], [small, fitting]])
    monkeypatch.setattr(machines, "cluster_nodes", lambda: next(looks))
    monkeypatch.setattr(machines, "_LOOK_AGAIN_S", 0.0)
    settings, nodes = wait_for_machines(settings_of(device="cuda", actors=3))
    assert nodes == [small, fitting]
    assert (settings.actors, settings.min_actors, settings.max_actors) == (None, 3, 3)


@pytest.mark.usefixtures("head_alone")
def test_it_is_said_what_is_waited_for_and_for_how_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(machines, "_FIRST_WORD_S", 0.0)
    monkeypatch.setattr(machines, "_LOOK_AGAIN_S", 0.01)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ActorsUnavailable, match=r"within 0\.5 s; 2 with 3 CPUs and 0\.5 GPUs each are wanted"),
    ):
        wait_for_machines(
            settings_of(min_actors=2, num_cpus_per_actor=3, num_gpus_per_actor=0.5, actor_wait_s=0.5)
        )
    assert "no machine for an inference actor has come yet; 2 with 3 CPUs" in caplog.text
    assert "asks the cluster's autoscaler" in caplog.text


@pytest.mark.usefixtures("head_alone")
def test_a_run_for_which_no_machine_comes_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given, output = write_images(tmp_path / "images", some_images(2)), str(tmp_path / "out")
    assert annotate(given, output, "--actor-wait-s", "2") == 1
    assert "no machine for an inference actor came within 2 s" in capsys.readouterr().err
    assert "--actor-wait-s" in json.loads(Path(output, "outcome.json").read_text())["message"]
    assert ray.is_initialized()
