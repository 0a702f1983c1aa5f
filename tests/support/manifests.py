"""The manifests in infra/, read: their commands, clusters and pods."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "CRONJOB",
    "PODMONITOR",
    "RAYCRONJOB",
    "RAYJOB",
    "ROOT",
    "SPOT",
    "TOKEN_SECRET",
    "annotate_arguments",
    "clusters",
    "commands",
    "of_kind",
    "pods",
]

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"
RAYJOB, CRONJOB = KUBERAY / "rayjob-annotate.yaml", KUBERAY / "cronjob-annotate.yaml"
SPOT = KUBERAY / "rayjob-annotate-spot.yaml"
RAYCRONJOB, PODMONITOR = KUBERAY / "raycronjob-annotate.yaml", ROOT / "infra/prometheus/podmonitor.yaml"
TOKEN_SECRET = "posrefine-ray-token"


def of_kind(path: Path, kind: str) -> dict[str, Any]:
    """The one document of that kind."""
    (found,) = [document for document in yaml.safe_load_all(path.read_text()) if document["kind"] == kind]
    return found


def clusters() -> dict[str, dict[str, Any]]:
    """The specs of clusters by the file they stand in."""
    return {
        RAYJOB.name: of_kind(RAYJOB, "RayJob")["spec"]["rayClusterSpec"],
        RAYCRONJOB.name: of_kind(RAYCRONJOB, "RayCronJob")["spec"]["jobTemplate"]["rayClusterSpec"],
        SPOT.name: of_kind(SPOT, "RayJob")["spec"]["rayClusterSpec"],
    }


def pods() -> list[dict[str, Any]]:
    """The specs of all pods of all files."""
    templates = [of_kind(CRONJOB, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]]
    templates += [cluster["headGroupSpec"]["template"] for cluster in clusters().values()]
    templates += [
        group["template"] for cluster in clusters().values() for group in cluster["workerGroupSpecs"]
    ]
    return [template["spec"] for template in templates]


def annotate_arguments(command: str) -> list[str]:
    """What follows `jobs/annotate.py` in a shell command, variables and all."""
    _, _, arguments = command.partition("jobs/annotate.py")
    return shlex.split(arguments.replace("\\\n", " "))


def commands() -> dict[str, str]:
    """Shell commands that annotate, by the file they stand in."""
    (submit,) = of_kind(CRONJOB, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return {
        RAYJOB.name: of_kind(RAYJOB, "RayJob")["spec"]["entrypoint"],
        RAYCRONJOB.name: of_kind(RAYCRONJOB, "RayCronJob")["spec"]["jobTemplate"]["entrypoint"],
        SPOT.name: of_kind(SPOT, "RayJob")["spec"]["entrypoint"],
        CRONJOB.name: submit["args"][0],
    }
