"""Sharing a cluster between loading and inference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster import COMMIT_CPUS, LOAD_CPUS, ClusterPlan, NodeResources, plan_cluster
from pipeline.config import RunSettings, load_settings
from posrefine.errors import ConfigurationError


def settings_of(**changes: object) -> RunSettings:
    needed = {"input": "/in", "output": "/out", "model": "m", "weights": "untrained"}
    return load_settings(needed | changes)


def test_every_gpu_gets_an_actor():
    nodes = [NodeResources(cpus=16, gpus=4), NodeResources(cpus=16, gpus=4), NodeResources(cpus=8, gpus=0)]
    assert plan_cluster(settings_of(), nodes) == ClusterPlan(8, 1.0, 1.0)


def test_without_gpus_every_machine_gets_an_actor_that_leaves_a_cpu_for_loading():
    nodes = [NodeResources(cpus=4, gpus=0), NodeResources(cpus=4, gpus=0)]
    assert plan_cluster(settings_of(), nodes) == ClusterPlan(2, 3.0, 0.0)


def test_the_cpu_may_be_chosen_on_a_machine_with_a_gpu():
    assert plan_cluster(settings_of(device="cpu"), [NodeResources(4, 1)]).gpus_per_actor == 0


def test_more_actors_than_fit_are_refused_before_anything_waits_for_them():
    with pytest.raises(ConfigurationError, match=r"3 actors of 1 CPUs.*room for 2"):
        plan_cluster(settings_of(actors=3, num_cpus_per_actor=1), [NodeResources(3, 0)])
    with pytest.raises(ConfigurationError, match="room for 0"):
        plan_cluster(settings_of(device="cuda"), [NodeResources(8, 0)])


@given(cpus=st.integers(2, 64), machines=st.integers(1, 4))
def test_actors_of_lost_machines_never_take_the_last_cpus_for_loading_on_those_that_remain(
    cpus: int, machines: int
):
    plan = plan_cluster(settings_of(), [NodeResources(cpus, 0)] * machines)
    that_fit = int(cpus / plan.cpus_per_actor)
    assert cpus - that_fit * plan.cpus_per_actor >= LOAD_CPUS + COMMIT_CPUS


@given(
    cpus=st.lists(st.sampled_from([1, 2, 3, 4, 16, 64]), min_size=1, max_size=4),
    gpus=st.sampled_from([0, 1, 8]),
)
def test_a_plan_always_leaves_room_to_load_and_commit(cpus: list[int], gpus: int):
    nodes = [NodeResources(count, gpus) for count in cpus]
    try:
        plan = plan_cluster(settings_of(), nodes)
    except ConfigurationError:
        assert gpus
        assert min(cpus) == 1 or gpus
        return
    assert plan.actors >= 1
    assert plan.actors * plan.cpus_per_actor + LOAD_CPUS + COMMIT_CPUS <= sum(cpus) + 1e-9
