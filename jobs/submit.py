"""Run a command on a standing cluster, and end with the command's own exit code.

`ray job submit` flattens that code to 0 and 1, which do not tell a scheduler what is worth another try. What
the command says is shown. The first try is the Ray job NAME-1, the next one NAME-2. While one of them is at
work no other is begun: the same command, given again, follows it. The command is run on the head node, which
must have what it names. Further exit codes: 1 crash, or no cluster answers; 2 bad configuration or usage; 75
interrupted, or the Ray job was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import job_parser, leave, run_job, take
from pipeline.exit_codes import ExitCode
from pipeline.settings.command_line import settings_given
from pipeline.settings.sources import load_settings, refuse_credentials
from pipeline.settings.submit import SubmitSettings
from posrefine.errors import ConfigurationError
from posrefine.redaction import redacted

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

__all__ = ["exit_code_of_job", "main", "parser", "tries_of"]

# By its name: as a script this module is `__main__`.
logger = logging.getLogger("jobs.submit")

_POLL_S = 2.0
# A head node that restarts, or a network that fails for a moment, is waited for.
_SILENCE_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit or follow, and return the command's exit code; unexpected errors are raised."""
    return run_job(
        parser(), arguments, when_interrupted="the Ray job goes on; the same command follows it again"
    )


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs the job."""
    top = job_parser("submit.py", str(__doc__))
    take(top, SubmitSettings, lambda settings: _submit(settings, ()))
    top.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, behind a --")
    top.set_defaults(
        handler=lambda given: _submit(
            load_settings(SubmitSettings, settings_given(given, SubmitSettings)), given.command
        )
    )
    return top


def _submit(settings: SubmitSettings, command: Sequence[str]) -> int:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    # An option's value may be in one word with it.
    refuse_credentials({"command": [word.partition("=")[2] for word in command]})
    try:
        client = JobSubmissionClient(settings.address)
        tries = tries_of(settings.name, client.list_jobs())
        number = tries[-1][0] if tries else 0
        if not tries or tries[-1][1].status.is_terminal():
            number += 1
            client.submit_job(entrypoint=shlex.join(command), submission_id=f"{settings.name}-{number}")
    except ValueError as error:
        # InvalidURL of requests is one, too.
        raise ConfigurationError(
            f"--address {redacted(settings.address or '')}: {error}; wanted one such as http://127.0.0.1:8265"
        ) from error
    except (ConnectionError, RuntimeError, RayError) as error:
        # Of many lines the first says what is wrong: nobody answers, or the token is not the cluster's.
        logger.error("the cluster takes no job: %s", str(error).strip().partition("\n")[0])
        return ExitCode.CRASH
    submission = f"{settings.name}-{number}"
    logger.info("Ray job %s", submission)
    _show_log(client, submission)
    return exit_code_of_job(_when_ended(client, submission))


def tries_of(name: str, jobs: Iterable[JobDetails]) -> list[tuple[int, JobDetails]]:
    """Those of the cluster's jobs that are tries of this name, by their number."""
    found = []
    for job in jobs:
        before, _, number = (job.submission_id or "").rpartition("-")
        if before == name and number.isascii() and number.isdigit():
            found.append((int(number), job))
    return sorted(found, key=lambda numbered: numbered[0])


def _show_log(client: JobSubmissionClient, submission: str) -> None:
    """Print what the job has said and says, until it ends or the connection does."""

    async def follow() -> None:
        async for lines in client.tail_job_logs(submission):
            print(lines, end="", flush=True)

    try:
        asyncio.run(follow())
    except (OSError, RuntimeError) as error:
        # Losing sight of the job is no reason to end: what counts is how the job does.
        logger.warning("the log of %s broke off: %s", submission, error)


def _when_ended(client: JobSubmissionClient, submission: str) -> JobDetails:
    """The job, once it has ended.

    Raises:
        RuntimeError: the cluster has not answered for two minutes.
    """
    answered = time.monotonic()
    while True:
        try:
            job = client.get_job_info(submission)
            if job.status.is_terminal():
                return job
            answered = time.monotonic()
        except (OSError, RuntimeError):
            if time.monotonic() - answered > _SILENCE_S:
                raise
        time.sleep(_POLL_S)


def exit_code_of_job(job: JobDetails) -> int:
    """What the command ended with, or what stands for its end without a code."""
    if job.status == "STOPPED":
        logger.error("Ray job %s was stopped", job.submission_id)
        return ExitCode.INTERRUPTED
    if job.status == "SUCCEEDED":
        return ExitCode.COMPLETE
    logger.error("Ray job %s failed: %s", job.submission_id, (job.message or "").strip())
    # A command that a signal ended has a negative one, and one whose node was lost none.
    code = job.driver_exit_code
    return code if code is not None and 0 < code < 256 else ExitCode.CRASH


if __name__ == "__main__":
    leave(main)
