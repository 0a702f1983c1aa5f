"""What submit makes of the Ray jobs that it finds: whose tries they are, and with which exit code it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray.job_submission
from ray.job_submission import JobDetails, JobStatus, JobType

from jobs.submit import exit_code_of_job, main, tries_of

COMMAND = ["--", "python", "job.py", "--name", "of the command", "--log-format", "json"]


def job(submission: str | None, status: JobStatus = JobStatus.FAILED, code: int | None = None) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=submission,
        status=status,
        entrypoint="x",
        driver_exit_code=code,
    )


def test_tries_are_found_by_their_name_and_told_apart_by_number():
    names = ["night-10", "night-2", "night-2-1", "night", "nights-1", "night-x", "night--3", None, "night-²"]
    assert [number for number, _ in tries_of("night", [job(name) for name in names])] == [2, 10]
    # A day at the end of a name is no number of a try.
    days = ["n-2026-11-27-1", "n-2026-11-28-1", "n-2026-11-28-2"]
    assert [number for number, _ in tries_of("n-2026-11-28", [job(name) for name in days])] == [1, 2]


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:abc", "http://[bad"])
def test_an_address_that_is_none_is_refused_by_its_name(address: str, capsys: pytest.CaptureFixture[str]):
    assert main(["--name", "night", "--address", address, *COMMAND]) == 2
    said = capsys.readouterr().err
    assert f"--address {address}: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, 4, 4),
        (JobStatus.FAILED, 75, 75),
        (JobStatus.FAILED, -9, 1),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 75),
    ],
)
def test_the_exit_code_is_that_of_the_command_or_says_why_there_is_none(
    status: JobStatus, code: int | None, expected: int
):
    assert exit_code_of_job(job("night-1", status, code)) == expected


class Cluster:
    """In the place of Ray's client: whom it was asked for and what it was given; nobody answers then."""

    asked: dict[str, Any]

    def __init__(self, address: str | None) -> None:
        Cluster.asked = {"address": address}

    def list_jobs(self) -> list[JobDetails]:
        return []

    def submit_job(self, **given: str) -> None:
        Cluster.asked |= given
        raise ConnectionError("nobody there")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> type[Cluster]:
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Cluster)
    Cluster.asked = {}
    return Cluster


@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_name_and_address_come_from_where_settings_of_all_jobs_do(
    source: str, cluster: type[Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = {"name": "night", "address": "http://head:8265"}
    (tmp_path / "c.yaml").write_text(
        json.dumps(given if source == "file" else {"name": "less", "address": "x"})
    )
    options = ["--config", str(tmp_path / "c.yaml")]
    if source == "environment":
        for name, value in given.items():
            monkeypatch.setenv(f"POSREFINE_{name.upper()}", value)
    elif source == "command line":
        monkeypatch.setenv("POSREFINE_NAME", "less")
        options += [word for name, value in given.items() for word in (f"--{name}", value)]
    assert main([*options, *COMMAND]) == 1
    assert cluster.asked == {
        "address": "http://head:8265",
        "submission_id": "night-1",
        "entrypoint": "python job.py --name 'of the command' --log-format json",
    }


def test_the_environment_is_checked_before_anybody_is_asked(
    cluster: type[Cluster], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert main(COMMAND) == 2
    assert "setting name: missing; give --name, POSREFINE_NAME or" in capsys.readouterr().err
    monkeypatch.setenv("POSREFINE_NAMES", "night")
    assert main(["--name", "night", *COMMAND]) == 2
    assert "did you mean POSREFINE_NAME?" in capsys.readouterr().err
    assert cluster.asked == {}


def test_credentials_in_a_word_with_their_option_are_not_handed_to_the_cluster(
    cluster: type[Cluster], capsys: pytest.CaptureFixture[str]
):
    assert main(["--name", "night", "--", "python", "job.py", "--output=s3://KEY:hunter2@bucket/x"]) == 2
    said = capsys.readouterr().err
    assert "setting command: holds credentials" in said
    assert "hunter2" not in said
    assert cluster.asked == {}
