"""`docker` with podman behind it: no daemon, a storage of the test's own, and a registry on 127.0.0.1.

Images and containers are real. `docker` is podman under another name, as in Debian's package podman-docker.
Where images are kept, that the registry needs no TLS, and what containers may have of this machine stands in
podman's own files of settings. No registry of the world is asked: the image that the Dockerfile begins with
is made here, of Debian's packages.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ports import free_port

__all__ = ["Docker", "docker_beside_a_registry"]

PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
"""What the Dockerfile begins with, by its full name."""
_TOOLS = ("podman", "runc", "debootstrap", "docker-registry")
"""Programs, and Debian's packages of the same names."""
_PACKAGES = "python3-pip,python3-venv,python-is-python3,ca-certificates"
_WHERE_PACKAGES_ARE = {"INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "TRUSTED_HOST", "TIMEOUT", "CERT"}
_START_S = 30


@dataclass(frozen=True)
class Docker:
    """Lines of a shell in which `docker` works.

    Attributes:
        registry: its host and port.
        environment: in which `docker` is found and finds its settings.
    """

    registry: str
    environment: dict[str, str]

    def run(self, command: str, folder: Path, timeout_s: float = 1800) -> str:
        """What the line printed; AssertionError where it failed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def tags(self, name: str) -> list[str]:
        """Of the images of that name that the registry holds."""
        with urllib.request.urlopen(f"http://{self.registry}/v2/{name}/tags/list", timeout=10) as answer:
            return list(json.load(answer)["tags"])


@contextmanager
def docker_beside_a_registry(folder: Path) -> Iterator[Docker]:
    """`docker`, a registry and the image of Python, all in a folder of which nothing is left.

    Skips the test where a program is missing or this machine lets nobody run containers.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on this machine: `apt-get install {' '.join(missing)}`")
    if os.getuid() != 0:
        pytest.skip("debootstrap wants root")
    port = free_port()
    docker = Docker(f"127.0.0.1:{port}", _settings(folder, port))
    try:
        with _registry(folder, port):
            _make_python_image(docker, folder)
            _skip_without_containers(docker)
            yield docker
    finally:
        _unmount(folder)
        # Gigabytes, of which pytest would keep those of the last three runs.
        for name in ("storage", "state", "registry", "python"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _settings(folder: Path, port: int) -> dict[str, str]:
    """Writes podman's settings; the variables that name them."""
    # No higher limits than this process may have: podman's own defaults are refused by some machines.
    allowed = {
        name: min(most for most in (resource.getrlimit(kind)[1], 32768) if most != resource.RLIM_INFINITY)
        for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    }
    limits = [f"{name}={most}:{most}" for name, most in allowed.items()]
    volumes = [f"{path}:{path}:ro" for path in pip_configuration()[1]]
    state = folder / "state"
    containers = f"""
        [containers]
        netns = "host"
        default_ulimits = {json.dumps(limits)}
        volumes = {json.dumps(volumes)}
        log_driver = "k8s-file"
        [engine]
        cgroup_manager = "cgroupfs"
        runtime = "runc"
        events_logger = "none"
        lock_type = "file"
        tmp_dir = "{state}/podman"
    """
    storage = """
        [storage]
        driver = "{driver}"
        graphroot = "{folder}/storage"
        runroot = "{folder}/state/storage"
    """
    registries = f"""
        [[registry]]
        location = "127.0.0.1:{port}"
        insecure = true
    """
    files = {"containers": containers, "registries": registries, "storage": ""}
    for name, text in files.items():
        (folder / f"{name}.conf").write_text(text)
    command = folder / "bin" / "docker"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nexec podman "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        # No image for every instruction.
        "BUILDAH_LAYERS": "false",
        "BUILDAH_ISOLATION": "chroot",
        "TMPDIR": str(state),
    }
    state.mkdir()
    # Where nothing may be mounted over another folder, every layer is a copy.
    said = ""
    for driver in ("overlay", "vfs"):
        (folder / "storage.conf").write_text(storage.format(driver=driver, folder=folder))
        done = subprocess.run(
            ["podman", "info"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return environment
        said = done.stderr
    pytest.skip(f"podman does not work on this machine: {said[-500:]}")


def _unmount(folder: Path) -> None:
    """All that podman has mounted in a folder, what was mounted last at first."""
    mounted = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed(mounted):
        if path.is_relative_to(folder):
            subprocess.run(["umount", path], check=False)


@contextmanager
def _registry(folder: Path, port: int) -> Iterator[None]:
    """Docker's own registry, on loopback."""
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    path = folder / "registry.yml"
    path.write_text(json.dumps(settings))
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/", process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, "docker-registry has ended, see registry.log"
            assert time.monotonic() < deadline, f"docker-registry does not answer at {url}"
            time.sleep(0.1)


def _make_python_image(docker: Docker, folder: Path) -> None:
    """Debian with its own Python 3.11, whose pip finds packages where this machine's finds them."""
    context = folder / "python"
    context.mkdir()
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", context / "base"],
        check=True,
        capture_output=True,
    )
    variables = "".join(f"ENV {name}={json.dumps(value)}\n" for name, value in pip_configuration()[0].items())
    (context / "Dockerfile").write_text(f"FROM scratch\nADD base /\n{variables}")
    docker.run(f"docker build -t {PYTHON_IMAGE} .", context)
    shutil.rmtree(context)


def _skip_without_containers(docker: Docker) -> None:
    command = ["podman", "run", "--rm", PYTHON_IMAGE, "true"]
    done = subprocess.run(command, env=docker.environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no container may start on this machine: {done.stderr[-500:]}")


def pip_configuration() -> tuple[dict[str, str], list[str]]:
    """Where pip finds packages on this machine: variables, and the files and folders that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    variables = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].upper().replace("-", "_")
        if name.startswith("global.") and option in _WHERE_PACKAGES_ARE:
            variables[f"PIP_{option}"] = value.strip("'").replace("\\n", " ")
    folders = {
        word.removeprefix("file://") for value in variables.values() for word in value.split() if "/" in word
    }
    # Pages of an index name files that lie beside it.
    folders = {folder.removesuffix("/simple") for folder in folders}
    return variables, sorted(folder for folder in folders if Path(folder).exists())
