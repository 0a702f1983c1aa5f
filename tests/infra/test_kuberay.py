"""The manifests: what Kubernetes, KubeRay and the jobs take, and nothing that they do not know."""

from __future__ import annotations

import copy
import re
import shlex
from typing import Any

import pytest
from jsonschema.exceptions import ValidationError
from kubernetes_validate import validate
from pydantic import ValidationError as FieldsError
from support.kuberay import PodMonitor, RayCronJob, RayJob, pod_templates
from support.manifests import (
    CRONJOB,
    PODMONITOR,
    RAYCRONJOB,
    RAYJOB,
    ROOT,
    SPOT,
    TOKEN_SECRET,
    annotate_arguments,
    clusters,
    commands,
    of_kind,
    pods,
)

import jobs.annotate
import jobs.submit
from pipeline.exit_codes import ExitCode
from pipeline.settings.command_line import settings_given
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings

KUBERNETES = "1.34"


def test_kubernetes_takes_the_cron_job_and_the_secret():
    validate(of_kind(CRONJOB, "CronJob"), KUBERNETES, strict=True)
    validate(of_kind(RAYJOB, "Secret"), KUBERNETES, strict=True)


def test_kuberay_takes_its_resources_and_kubernetes_the_pods_in_them():
    job = RayJob.model_validate(of_kind(RAYJOB, "RayJob"))
    cron = RayCronJob.model_validate(of_kind(RAYCRONJOB, "RayCronJob"))
    spot = RayJob.model_validate(of_kind(SPOT, "RayJob"))
    for spec in (job.spec, cron.spec.jobTemplate, spot.spec):
        for template in pod_templates(spec.rayClusterSpec):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "p"}, "template": template}
            validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize(("name", "value"), [("backoffLimits", 2), ("backoffLimit", "2")])
def test_a_field_that_is_misspelt_or_of_another_type_is_found(name: str, value: object):
    cron = copy.deepcopy(of_kind(CRONJOB, "CronJob"))
    cron["spec"]["jobTemplate"]["spec"][name] = value
    with pytest.raises(ValidationError):
        validate(cron, KUBERNETES, strict=True)
    job = copy.deepcopy(of_kind(RAYJOB, "RayJob"))
    job["spec"][name] = value
    with pytest.raises(FieldsError):
        RayJob.model_validate(job)


@pytest.mark.parametrize("name", commands())
def test_every_command_is_one_that_the_job_understands(name: str):
    assert jobs.annotate.parser().parse_args(annotate_arguments(commands()[name])).input.startswith("s3://")
    for job in re.findall(r"python /app/(\S+\.py)", commands()[name]):
        assert (ROOT / job).exists()


def test_the_scheduled_pods_command_is_one_that_submit_understands():
    _, _, arguments = commands()[CRONJOB.name].replace("\\\n", " ").partition("jobs/submit.py")
    given = jobs.submit.parser().parse_args(shlex.split(arguments))
    assert given.name == "posrefine-$day"
    assert given.command[:2] == ["python", "/app/jobs/annotate.py"]


def test_scheduled_runs_never_overlap_and_do_not_repeat_what_cannot_succeed():
    cron = of_kind(CRONJOB, "CronJob")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    job = cron["jobTemplate"]["spec"]
    assert job["backoffLimit"] >= 1
    (ends,) = [
        rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"
    ]
    (container,) = job["template"]["spec"]["containers"]
    assert ends["containerName"] == container["name"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    again = {ExitCode.CRASH, ExitCode.LOCKED, ExitCode.INTERRUPTED}
    assert set(ends["values"]) == set(ExitCode) - again - {ExitCode.COMPLETE}


def test_every_schedule_syncs_one_output():
    for manifest in (CRONJOB, RAYCRONJOB):
        given = jobs.annotate.parser().parse_args(annotate_arguments(commands()[manifest.name]))
        assert given.command == "sync"
        assert (given.input, given.output) == ("s3://CHANGE-bucket/photographs", "s3://CHANGE-bucket/poses")


def test_the_nightly_cluster_is_that_of_the_single_run():
    assert clusters()[RAYCRONJOB.name] == clusters()[RAYJOB.name]


def test_the_cluster_of_spot_machines_grows_from_none_to_as_many_as_the_command_has_actors_for():
    cluster = RayJob.model_validate(of_kind(SPOT, "RayJob")).spec.rayClusterSpec
    (workers,) = cluster.workerGroupSpecs
    assert cluster.enableInTreeAutoscaling
    assert (workers.replicas, workers.minReplicas) == (0, 0)
    arguments = jobs.annotate.parser().parse_args(annotate_arguments(commands()[SPOT.name]))
    settings = load_settings(RunSettings, settings_given(arguments, RunSettings), {})
    (container,) = workers.template["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert settings.max_actors == workers.maxReplicas * gpus
    # No machine is there yet to tell.
    assert settings.device == "cuda"


def test_the_driver_is_on_no_spot_machine_and_workers_are_on_nothing_else():
    cluster = clusters()[SPOT.name]
    (workers,) = cluster["workerGroupSpecs"]
    spot = workers["template"]["spec"]["nodeSelector"]
    tolerated = {rule["key"] for rule in workers["template"]["spec"]["tolerations"]}
    head = cluster["headGroupSpec"]["template"]["spec"]
    required = head["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert {rule["key"] for rule in term["matchExpressions"] if rule["operator"] == "DoesNotExist"} == set(
        spot
    )
    assert set(spot) < tolerated
    assert "tolerations" not in head
    assert {head["restartPolicy"], workers["template"]["spec"]["restartPolicy"]} == {"Never"}


def test_what_is_alike_in_the_clusters_is_alike_in_words():
    spot, single = clusters()[SPOT.name], clusters()[RAYJOB.name]
    assert spot["headGroupSpec"]["rayStartParams"] == single["headGroupSpec"]["rayStartParams"]
    for group in (["headGroupSpec"], ["workerGroupSpecs", 0]):
        pods = [_pod(cluster, group) for cluster in (spot, single)]
        assert pods[0]["containers"] == pods[1]["containers"]
        assert pods[0].get("volumes") == pods[1].get("volumes")


def _pod(cluster: Any, group: list[Any]) -> Any:
    for key in group:
        cluster = cluster[key]
    return cluster["template"]["spec"]


def test_every_node_asks_for_the_token_of_one_secret():
    for cluster in clusters().values():
        assert cluster["authOptions"] == {"mode": "token", "secretName": TOKEN_SECRET}
    (submit,) = of_kind(CRONJOB, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry for entry in submit["env"]}
    assert environment["RAY_AUTH_MODE"]["value"] == "token"
    # The key is the one in which KubeRay looks.
    source = {"secretKeyRef": {"name": TOKEN_SECRET, "key": "auth_token"}}
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"] == source
    for text in (RAYJOB.read_text(), (ROOT / "docs/cluster.md").read_text()):
        assert f"kubectl create secret generic {TOKEN_SECRET} --from-literal=auth_token=" in text


def test_no_pod_gets_the_variables_of_services():
    assert all(pod["enableServiceLinks"] is False for pod in pods())


def test_credentials_come_from_a_secret_in_the_environment_of_every_node():
    secret = of_kind(RAYJOB, "Secret")["metadata"]["name"]
    for cluster in clusters().values():
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            for container in group["template"]["spec"]["containers"]:
                assert {"secretRef": {"name": secret}} in container["envFrom"]


def test_cluster_and_image_use_the_pinned_version_of_ray():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert {cluster["rayVersion"] for cluster in clusters().values()} == {pinned[1]}


def test_the_pod_monitor_scrapes_ports_that_the_pods_of_a_cluster_have():
    monitor = PodMonitor.model_validate(of_kind(PODMONITOR, "PodMonitor"))
    cluster = of_kind(RAYJOB, "RayJob")["spec"]["rayClusterSpec"]
    ports: dict[str, int] = {}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert monitor.spec.selector.matchLabels.items() <= group["template"]["metadata"]["labels"].items()
        for container in group["template"]["spec"]["containers"]:
            ports |= {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {endpoint.port for endpoint in monitor.spec.podMetricsEndpoints} <= set(ports)
    given = jobs.annotate.parser().parse_args(annotate_arguments(commands()[RAYJOB.name]))
    assert int(given.metrics_port) == ports["run-metrics"]
    assert given.metrics_host == "0.0.0.0"
