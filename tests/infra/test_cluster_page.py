"""The lines of docs/cluster.md that call docker and kubectl run, as they stand there.

Real are the programs and what they make: the image of the project's own Dockerfile, a registry that holds it,
containers of it, and what kubectl sends. Only the registry's name is filled in. Simulated is the cluster: a
server on 127.0.0.1 that judges and keeps objects (`support.kubernetes_api`) and starts no pod. `docker` is
podman, and the image that the Dockerfile begins with is made of Debian's packages (`support.containers`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.code_blocks import ROOT, CodeBlock, code_blocks
from support.containers import docker_beside_a_registry
from support.kubernetes_api import KubernetesAPI, needs_kubectl, serving_kubernetes
from support.manifests import CRONJOB, PODMONITOR, RAYCRONJOB, RAYJOB, SPOT, TOKEN_SECRET

from posrefine import __version__

IMAGE = f"posrefine:{__version__}"


def block() -> CodeBlock:
    (found,) = [one for one in code_blocks() if one.page == "docs/cluster.md" and "kubectl" in one.text]
    return found


def lines(tool: str) -> list[str]:
    return [line for line in block().text.splitlines() if line.startswith(f"{tool} ")]


def test_every_line_of_the_block_is_run_below():
    assert [*lines("docker"), *lines("kubectl")] == block().text.splitlines()


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[KubernetesAPI]:
    with serving_kubernetes(tmp_path) as api:
        yield api


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With infra/, and in the manifest of the page what is marked CHANGE filled in."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "infra", folder / "infra")
    manifest = folder / RAYJOB.relative_to(ROOT)
    text = manifest.read_text().replace("CHANGE-bucket", "ours").replace(": CHANGE\n", ": filled-in\n")
    manifest.write_text(text.replace("image: posrefine:", "image: registry.example/posrefine:"))
    return folder


@needs_kubectl
def test_the_token_and_the_run_of_the_page_come_to_the_cluster(kubernetes: KubernetesAPI, checkout: Path):
    for line in lines("kubectl"):
        done = kubernetes.run(line, checkout)
        assert done.returncode == 0, line + done.stderr
    objects = kubernetes.objects
    assert set(objects) == {
        ("Secret", TOKEN_SECRET),
        ("Secret", "posrefine-object-storage"),
        ("RayJob", "posrefine-annotate"),
    }
    token = objects["Secret", TOKEN_SECRET]["data"]["auth_token"]
    assert re.fullmatch("[0-9a-f]{64}", base64.b64decode(token).decode())
    job = objects["RayJob", "posrefine-annotate"]
    written = next(yaml.safe_load_all((checkout / RAYJOB.relative_to(ROOT)).read_text()))
    assert job["spec"] == written["spec"]
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {container["image"] for group in groups for container in group["template"]["spec"]["containers"]}
    assert images == {f"registry.example/{IMAGE}"}
    assert "CHANGE" not in json.dumps(list(objects.values()))
    # What the cluster has, kubectl gives back.
    read = kubernetes.run(f"kubectl get secret {TOKEN_SECRET} -o jsonpath='{{.data.auth_token}}'", checkout)
    assert read.stdout == token


@needs_kubectl
@pytest.mark.parametrize(
    "manifest", [CRONJOB, RAYCRONJOB, RAYJOB, SPOT, PODMONITOR], ids=lambda path: path.name
)
def test_kubectl_applies_every_manifest(manifest: Path, kubernetes: KubernetesAPI):
    done = kubernetes.run(f"kubectl apply -f {manifest.relative_to(ROOT)}", ROOT)
    assert done.returncode == 0, done.stderr
    written = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(manifest.read_text())]
    assert list(kubernetes.objects) == written


@needs_kubectl
@pytest.mark.parametrize(
    ("manifest", "field"), [(CRONJOB, "schedule"), (RAYJOB, "submissionMode"), (PODMONITOR, "selector")]
)
def test_kubectl_fails_where_the_cluster_refuses(
    manifest: Path, field: str, kubernetes: KubernetesAPI, tmp_path: Path
):
    (tmp_path / "misspelt.yaml").write_text(manifest.read_text().replace(f" {field}:", f" {field}s:"))
    done = kubernetes.run("kubectl apply -f misspelt.yaml", tmp_path)
    assert done.returncode == 1
    assert f"{field}s" in done.stderr
    assert not [kind for kind, _ in kubernetes.objects if kind != "Secret"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_of_the_page_is_built_and_pushed_and_finds_people(tmp_path: Path):
    """A registry's copy of the image runs, as on a node of the cluster, which has none of its own."""
    with docker_beside_a_registry(tmp_path) as docker:
        for line in lines("docker"):
            docker.run(line.replace("REGISTRY", docker.registry), ROOT)
        assert docker.tags("posrefine") == [__version__]

        image = f"{docker.registry}/{IMAGE}"
        (built,) = json.loads(docker.run(f"docker image inspect {image}", ROOT))
        assert built["Config"]["User"] == "1000:1000"
        assert built["Config"]["Entrypoint"] == ["tini", "--", "python"]
        assert built["Config"]["Labels"]["org.opencontainers.image.version"] == __version__

        docker.run(f"docker rmi {image}", ROOT)
        work = tmp_path / "work"
        work.mkdir()
        os.chown(work, 1000, 1000)

        def run(arguments: str) -> str:
            return docker.run(f"docker run --rm --volume {work}:/home/ray/work {image} {arguments}", ROOT)

        asked = run('-c "import os; print(os.getuid(), os.getppid(), os.getcwd())"')
        # The container has processes of its own, of which tini is the first.
        assert asked.split() == ["1000", "1", "/home/ray"]
        run("/app/jobs/pack.py --output work/scenes --synthetic 4 --seed 0 --people 1-2")
        run(
            "/app/jobs/annotate.py run --input work/scenes/shards --output work/out"
            " --model posrefine_tiny --weights posrefine:tiny_coco --input-size 256"
        )
        success = json.loads((work / "out" / "tables" / "_SUCCESS.json").read_text())
        assert (success["images"], success["ok"]) == (4, 4)
        assert success["persons"] > 0
