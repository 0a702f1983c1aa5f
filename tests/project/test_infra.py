"""The cluster files in infra/: they name commands, settings, metrics and folders that exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from jobs.annotate import parser
from pipeline.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"


def documents(path: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def of_kind(path: Path, kind: str) -> dict:
    (found,) = [document for document in documents(path) if document["kind"] == kind]
    return found


def annotate_arguments(command: str) -> list[str]:
    """What follows `jobs/annotate.py` in a shell command, variables and all."""
    _, _, arguments = command.partition("jobs/annotate.py")
    return shlex.split(arguments.replace("\\\n", " "))


def test_the_ray_jobs_command_is_one_that_the_job_understands():
    job = of_kind(KUBERAY / "rayjob-annotate.yaml", "RayJob")
    parsed = parser().parse_args(annotate_arguments(job["spec"]["entrypoint"]))
    assert parsed.input.startswith("s3://")
    assert job["spec"]["backoffLimit"] >= 1


def test_the_scheduled_command_is_one_that_the_job_understands_and_never_overlaps():
    cron = of_kind(KUBERAY / "cronjob-annotate.yaml", "CronJob")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    (container,) = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert parser().parse_args(annotate_arguments(container["args"][0])).input.startswith("s3://")


def test_credentials_come_from_a_secret_in_the_environment_of_every_node():
    path = KUBERAY / "rayjob-annotate.yaml"
    secret = of_kind(path, "Secret")["metadata"]["name"]
    cluster = of_kind(path, "RayJob")["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for container in (c for group in groups for c in group["template"]["spec"]["containers"]):
        assert {"secretRef": {"name": secret}} in container["envFrom"]


def test_cluster_and_image_use_the_pinned_version_of_ray():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    cluster = of_kind(KUBERAY / "rayjob-annotate.yaml", "RayJob")["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned[1]


def test_alerts_read_metrics_that_a_run_has():
    samples = {
        sample.name
        for metric in Telemetry(units_total=1, units_done=0, actors=1).registry.collect()
        for sample in metric.samples
    } | {"posrefine_images_total", "posrefine_unit_retries_total"}
    (group,) = documents(ROOT / "infra/prometheus/rules.yaml")[0]["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"posrefine_\w+", rule["expr"]))
        assert used, rule["alert"]
        assert used <= samples, f"{rule['alert']} reads {used - samples}"


@pytest.mark.parametrize(
    "line", re.findall(r"^COPY (.+)$", (ROOT / "infra/docker/Dockerfile").read_text(), re.M)
)
def test_the_image_copies_files_that_exist_and_are_not_ignored(line: str):
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in line.split()[:-1]:
        assert (ROOT / source).exists(), source
        assert source not in ignored
