"""What submit makes of the Ray jobs that it finds: whose tries they are, and with which exit code it ends."""

from __future__ import annotations

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from jobs.submit import exit_code_of_job, tries_of


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
