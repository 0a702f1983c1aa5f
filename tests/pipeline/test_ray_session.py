from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._common.utils import get_ray_address_file
from support.ports import free_port

from pipeline import ray_session as module
from pipeline.ray_session import ray_session
from posrefine.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_a_ray_address_that_nobody_answers_is_an_error_and_no_long_silence(
    form: str, monkeypatch: pytest.MonkeyPatch
):
    if ray.is_initialized():
        pytest.skip("another test of this process is connected to Ray")
    address = form.format(free_port())
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(module, "_HEAD_WAIT_S", 1.0)
    with pytest.raises(ConfigurationError, match="no Ray cluster answers there") as raised, ray_session():
        pass
    assert address in str(raised.value)


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ray's record, on a machine without RAY_ADDRESS, of a cluster that is gone."""
    if ray.is_initialized():
        pytest.skip("another test of this process is connected to Ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    record = Path(get_ray_address_file(None))
    record.parent.mkdir()
    record.write_text(f"127.0.0.1:{free_port()}\n")
    return record


@pytest.mark.parametrize("text", [None, "", "nonsense"])
def test_rays_record_of_a_cluster_that_is_gone_is_passed_over_with_a_warning(
    text: str | None, noted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    if text is not None:
        noted.write_text(text)
    joined: list[str | None] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: joined.append(address))
    with ray_session():
        pass
    assert joined == ["local"]
    assert str(noted) in caplog.text
    assert noted.read_text().strip() in caplog.text


def test_a_cluster_that_answers_where_rays_record_says_is_joined(
    noted: Path, monkeypatch: pytest.MonkeyPatch
):
    joined: list[str | None] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: joined.append(address))
    host, _, port = noted.read_text().strip().partition(":")
    with socket.create_server((host, int(port))), ray_session():
        pass
    assert joined == [None]


def test_any_cluster_asked_for_where_the_recorded_one_is_gone_is_an_error(
    noted: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ConfigurationError, match="does not answer") as raised, ray_session():
        pass
    assert str(noted) in str(raised.value)


UNHEEDED = """
import ray
from pipeline.ray_session import ray_session

class Records:
    def tell(self): raise KeyError("of a record that is lost")
    def answer(self): return "answered"

with ray_session():
    records = ray.remote(num_cpus=0)(Records).remote()
    records.tell.remote()
    print(ray.get(records.answer.remote()))
"""


def test_calls_that_nobody_waits_for_fail_without_a_word_as_rays_own_do_once_memory_ran_out():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-c", UNHEEDED], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "answered\n"
    assert "of a record that is lost" not in done.stderr


def test_a_full_disk_under_ray_is_told_at_once_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if ray.is_initialized():
        pytest.skip("another test of this process is connected to Ray")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only, and not in every container")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    try:
        with pytest.raises(ConfigurationError, match=r"MiB free.*RAY_TMPDIR") as raised, ray_session():
            pass
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert str(tmp_path) in str(raised.value)
