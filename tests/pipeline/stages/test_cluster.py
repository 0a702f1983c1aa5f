"""Sharing a cluster between loading and inference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.stages.cluster import (
    ClusterLayout,
    NodeResources,
    actor_bytes,
    cluster_layout,
)
from posrefine.errors import ConfigurationError


def settings_of(**changes: object) -> RunSettings:
    needed = {"input": "/in", "output": "/out", "model": "m", "weights": "untrained"}
    return load_settings(RunSettings, needed | changes)


def test_every_gpu_gets_an_actor():
    nodes = [NodeResources(cpus=16, gpus=4), NodeResources(cpus=16, gpus=4), NodeResources(cpus=8, gpus=0)]
    assert cluster_layout(settings_of(), nodes) == ClusterLayout(8, 1.0, 1.0, 1, processors=8)


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8, 16, 64, 192])
def test_without_gpus_every_core_gets_an_actor_of_one_thread(cpus: int):
    plan = cluster_layout(settings_of(), [NodeResources(cpus=cpus, gpus=0)] * 3)
    assert (plan.actors, plan.threads_per_actor, plan.processors) == (3 * cpus, 1, 3 * cpus)


def test_of_machines_unlike_each_other_nearly_every_core_gets_one_too():
    plan = cluster_layout(settings_of(), [NodeResources(2, 0), NodeResources(16, 0), NodeResources(4, 0)])
    assert 20 <= plan.actors <= 22
    assert plan.processors == 22


@pytest.mark.parametrize("sizes", [[16, 192], [8, 16, 192], [48, 96, 192], [2, 64]])
def test_machines_of_many_cores_beside_those_of_few_are_used_whole(sizes: list[int]):
    plan = cluster_layout(settings_of(), [NodeResources(cpus, 0) for cpus in sizes])
    assert plan.actors == sum(sizes)
    for cpus in sizes:
        left = cpus - int(cpus / plan.cpus_per_actor) * plan.cpus_per_actor
        assert left >= plan.load_cpus + plan.commit_cpus


def test_a_machine_of_a_sliver_of_a_cpu_spoils_no_layout():
    beside = cluster_layout(settings_of(), [NodeResources(16, 0), NodeResources(0.05, 0)])
    assert (beside.actors, beside.cpus_per_actor) == (16, 0.9933)
    with_gpus = cluster_layout(settings_of(), [NodeResources(16, 2), NodeResources(0.5, 0)])
    assert (with_gpus.actors, with_gpus.cpus_per_actor) == (2, 1.0)
    with pytest.raises(ConfigurationError, match="no machine with CPUs"):
        cluster_layout(settings_of(), [NodeResources(0.05, 0)])


def test_a_thousand_machines_are_named_by_their_kinds():
    nodes = [NodeResources(16, 0)] * 1000 + [NodeResources(count, 0) for count in range(2, 12)]
    with pytest.raises(ConfigurationError, match=r"machines: 1,000 of 16 CPUs 0 GPUs, 1 of 2 .*, …\)"):
        cluster_layout(settings_of(actors=100_000), nodes)


def test_where_memory_is_short_fewer_actors_have_more_threads():
    node = NodeResources(cpus=16, gpus=0, memory_bytes=9e9)
    roomy, tight = (cluster_layout(settings_of(), [node], size) for size in (0.5e9, 2e9))
    assert (roomy.actors, roomy.threads_per_actor) == (16, 1)
    assert (tight.actors, tight.threads_per_actor) == (4, 4)
    none_fits = cluster_layout(settings_of(), [node], 10e9)
    assert (none_fits.actors, none_fits.threads_per_actor) == (1, 16)


def test_larger_views_are_expected_to_take_more_memory():
    small, large = (actor_bytes(settings_of(scales=scales), 512) for scales in ((1.0,), (0.5, 1.0, 2.0)))
    assert 1e9 < small < 2e9 < large < 4e9


def test_who_asks_for_cpus_gets_threads_for_whole_ones():
    node = NodeResources(8, 0)
    assert cluster_layout(settings_of(num_cpus_per_actor=3), [node]).threads_per_actor == 3
    assert cluster_layout(settings_of(num_cpus_per_actor=0.5, actors=2), [node]).threads_per_actor == 1


def test_the_cpu_may_be_chosen_on_a_machine_with_a_gpu():
    assert cluster_layout(settings_of(device="cpu"), [NodeResources(4, 1)]).gpus_per_actor == 0


def test_more_actors_than_fit_are_refused_before_anything_waits_for_them():
    with pytest.raises(ConfigurationError, match=r"3 actors of 1 CPUs.*room for 2"):
        cluster_layout(settings_of(actors=3, num_cpus_per_actor=1), [NodeResources(3, 0)])
    with pytest.raises(ConfigurationError, match="room for 0"):
        cluster_layout(settings_of(num_gpus_per_actor=2), [NodeResources(8, 1)])


@pytest.mark.parametrize("gpus", [None, 0.5, 2])
def test_gpus_that_no_machine_has_are_refused_by_the_name_of_the_device(gpus: float | None):
    with pytest.raises(ConfigurationError, match=r"device 'cuda' cannot be used here \(no machine"):
        cluster_layout(settings_of(device="cuda", num_gpus_per_actor=gpus), [NodeResources(8, 0)])


def test_in_a_cluster_that_grows_the_actors_are_those_that_may_come():
    nodes = [NodeResources(8, 0)]
    plan = cluster_layout(settings_of(max_actors=64), nodes)
    assert (plan.grows, plan.least_actors, plan.actors, plan.threads_per_actor) == (True, 1, 64, 1)
    assert (plan.processors, plan.loads_at_once) == (8, 8)
    assert cluster_layout(settings_of(min_actors=4), nodes).actors == 1_000
    assert not cluster_layout(settings_of(), nodes).grows
    on_gpus = cluster_layout(settings_of(max_actors=16, min_actors=2), [NodeResources(16, 1)])
    assert (on_gpus.least_actors, on_gpus.actors, on_gpus.gpus_per_actor) == (2, 16, 1.0)


@pytest.mark.parametrize("there", [4, 8, 16, 64, 96])
@pytest.mark.parametrize("asked", [None, 1, 2, 4])
def test_on_machines_of_usual_sizes_that_come_all_cores_are_used_and_tasks_have_their_share(
    there: int, asked: float | None
):
    plan = cluster_layout(settings_of(max_actors=500, num_cpus_per_actor=asked), [NodeResources(there, 0)])
    for comes in (4, 8, 16, 32, 64, 128):
        that_fit = int(comes / plan.cpus_per_actor)
        assert that_fit * plan.threads_per_actor >= comes
        assert comes - that_fit * plan.cpus_per_actor >= plan.load_cpus + plan.commit_cpus - 1e-9


@given(cpus=st.integers(1, 256), asked=st.sampled_from([None, 0.1, 0.5, 1.0, 1.5, 2.0, 4.0]))
def test_however_many_actors_of_a_cluster_that_grows_fit_a_machine_that_is_there_tasks_have_their_share(
    cpus: int, asked: float | None
):
    settings = settings_of(max_actors=500, num_cpus_per_actor=asked)
    try:
        plan = cluster_layout(settings, [NodeResources(cpus, 0)])
    except ConfigurationError:
        assert asked is not None
        assert cpus < asked
        return
    left = cpus - int(cpus / plan.cpus_per_actor) * plan.cpus_per_actor
    assert left >= plan.load_cpus + plan.commit_cpus - 1e-9


@pytest.mark.parametrize("asked", [None, 1, 4])
@pytest.mark.parametrize(("cpus", "gpus"), [(4, 4), (8, 8), (16, 1), (2, 1), (96, 8)])
def test_where_each_gpu_that_comes_gets_an_actor_there_are_cpus_left_for_tasks(
    cpus: int, gpus: int, asked: float | None
):
    plan = cluster_layout(settings_of(max_actors=64, num_cpus_per_actor=asked), [NodeResources(cpus, gpus)])
    assert cpus - gpus * plan.cpus_per_actor >= plan.load_cpus + plan.commit_cpus - 1e-9
    assert plan.cpus_per_actor <= (asked or 1)


def test_actors_that_wait_for_a_gpu_take_no_cpus_from_loading():
    plan = cluster_layout(settings_of(max_actors=1_000), [NodeResources(16, 1)])
    assert plan.actors * plan.cpus_per_actor <= 1


def test_a_cluster_that_is_yet_to_grow_has_the_actors_that_were_asked_for():
    grown = settings_of(actors=5).growing()
    assert (grown.actors, grown.min_actors, grown.max_actors) == (None, 5, 5)
    grown = settings_of().growing()
    assert (grown.min_actors, grown.max_actors) == (1, None)
    assert settings_of(max_actors=3).growing() == settings_of(max_actors=3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"actors": 2, "max_actors": 4}, "--actors says their number once and for all"),
        ({"actors": 2, "min_actors": 2}, "leave out --min-actors and --max-actors"),
        ({"min_actors": 3, "max_actors": 2}, "--min-actors 3 is above --max-actors 2"),
    ],
)
def test_numbers_of_actors_that_do_not_go_together_are_refused(given: dict[str, int], words: str):
    with pytest.raises(ConfigurationError, match=words):
        settings_of(**given)


@given(cpus=st.integers(1, 256), machines=st.integers(1, 4))
def test_actors_of_lost_machines_never_take_the_last_cpus_for_loading_on_those_that_remain(
    cpus: int, machines: int
):
    plan = cluster_layout(settings_of(), [NodeResources(cpus, 0)] * machines)
    that_fit = int(cpus / plan.cpus_per_actor)
    assert cpus - that_fit * plan.cpus_per_actor >= plan.load_cpus + plan.commit_cpus - 1e-9


@given(
    cpus=st.lists(st.sampled_from([1, 2, 3, 4, 16, 64]), min_size=1, max_size=4),
    gpus=st.sampled_from([0, 1, 8]),
)
def test_a_plan_always_leaves_room_to_load_and_commit(cpus: list[int], gpus: int):
    nodes = [NodeResources(count, gpus) for count in cpus]
    try:
        plan = cluster_layout(settings_of(), nodes)
    except ConfigurationError:
        assert gpus
        assert min(cpus) == 1 or gpus
        return
    assert plan.actors >= 1
    assert plan.actors * plan.cpus_per_actor + plan.load_cpus + plan.commit_cpus <= sum(cpus) + 1e-9
