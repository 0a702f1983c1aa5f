"""Annotate images with the keypoints of the people in them, and look after what was annotated.

Exit codes: 0 complete, 1 crash, 2 bad configuration or usage, 3 complete but over the error budget, 4 output
of a different run, 5 locked by a live run, 75 interrupted, run again. `outcome.json` says the same.

docs/cluster.md says how to run on a cluster. What `ray job submit` begins makes 1 of every code but 0: look
into `outcome.json`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import SETTINGS_NOTE, add_command, job_parser, leave, run_job
from pipeline.exit_codes import ExitCode
from pipeline.settings.outputs import (
    ExportSettings,
    FinalizeSettings,
    ReplaySettings,
    ReportSettings,
    RetrySettings,
    StatusSettings,
)
from pipeline.settings.run import EstimateSettings, RunSettings
from pipeline.settings.sync import SyncSettings

if TYPE_CHECKING:
    from pipeline.output.outcome import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; unexpected errors are raised."""
    return run_job(parser(), arguments, when_interrupted="finished units are kept, run again")


def parser() -> argparse.ArgumentParser:
    """The command line: `command` names the subcommand, `handler` runs it."""
    top = job_parser("annotate.py", str(__doc__))
    commands = top.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_command(
        *(commands, "run", RunSettings, _run),
        f"Annotate the input, or go on where an earlier run ended. {SETTINGS_NOTE}",
    )
    add_command(
        *(commands, "sync", SyncSettings, _sync),
        "Keep the output true to an input that grows: annotate what is new or changed, drop what is gone. "
        f"The first time it is a run. {SETTINGS_NOTE}",
    )
    add_command(
        *(commands, "plan", EstimateSettings, _plan),
        f"Say what a run, or a sync of a finished one, would do and cost, without doing it. {SETTINGS_NOTE}",
    )
    add_command(
        *(commands, "status", StatusSettings, _status),
        "Say where a run stands, from storage alone. Works beside a live run and after a crash.",
    )
    add_command(
        *(commands, "finalize", FinalizeSettings, _finalize),
        "Write the tables of a run whose units are all finished. `run` does so by itself at its end.",
    )
    add_command(
        *(commands, "retry-failed", RetrySettings, _retry_failed),
        "Try the failed images of a finished run once more, and bring its tables up to date.",
    )
    add_command(
        *(commands, "replay", ReplaySettings, _replay),
        "Annotate one unit of a run again in this process, without Ray, and print its rows.",
    )
    add_command(
        *(commands, "export", ExportSettings, _export),
        "Write a run's persons in the format of another tool. docs/formats.md describes the formats.",
    )
    add_command(
        *(commands, "report", ReportSettings, _report),
        "Write report/index.html of a run: its counts, its speed and a gallery. Needs no ground truth.",
    )
    return top


# What a command works with is imported where it runs: help, plans and states wait for no Torch and no Ray.


def _run(settings: RunSettings) -> int:
    from pipeline.driver.lineage import with_lineage
    from pipeline.driver.run import run

    return _ended(with_lineage("run", settings, lambda: run(settings)))


def _sync(settings: SyncSettings) -> int:
    from pipeline.driver.lineage import with_lineage
    from pipeline.driver.sync import sync

    return _ended(with_lineage("sync", settings, lambda: sync(settings)))


def _plan(settings: EstimateSettings) -> int:
    from pipeline.driver.estimate import estimate_run
    from pipeline.storage import Storage

    estimate = estimate_run(settings, Storage())
    print("\n".join(estimate.lines(settings.images_per_second, settings.price_per_device_hour)))
    return ExitCode.COMPLETE


def _status(settings: StatusSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.output.status import read_status
    from pipeline.output.status_text import status_lines
    from pipeline.storage import Storage

    status, now = read_status(RunOutput.at(settings.output, Storage())), datetime.now(UTC)
    as_json = settings.as_json
    print(status.summary(now).model_dump_json(indent=2) if as_json else "\n".join(status_lines(status, now)))
    return ExitCode.COMPLETE


def _finalize(settings: FinalizeSettings) -> int:
    from pipeline.driver.run import finalize_run
    from pipeline.output.run_output import RunOutput
    from pipeline.storage import Storage

    return _ended(finalize_run(RunOutput.at(settings.output, Storage()), rebuild=settings.rebuild))


def _retry_failed(settings: RetrySettings) -> int:
    from pipeline.driver.retry import retry_failed
    from pipeline.output.run_output import RunOutput
    from pipeline.storage import Storage

    outcome = retry_failed(
        RunOutput.at(settings.output, Storage()),
        settings.device,
        max_pixels=settings.max_pixels,
        max_image_bytes=settings.max_image_bytes,
    )
    return _ended(outcome)


def _replay(settings: ReplaySettings) -> int:
    from pipeline.driver.replay import replay, replayed_lines
    from pipeline.output.parquet import encode_table
    from pipeline.output.run_output import RunOutput
    from pipeline.storage import Storage

    rows = replay(RunOutput.at(settings.output, Storage()), settings.unit, settings.device)
    print("\n".join(replayed_lines(rows)))
    if settings.save is not None:
        settings.save.write_bytes(encode_table(rows, {}))
    return ExitCode.COMPLETE


def _export(settings: ExportSettings) -> int:
    from pipeline.export import ExportOptions, export_run
    from pipeline.storage import Storage

    options = ExportOptions(
        min_score=settings.min_score,
        min_keypoint_score=-math.inf if settings.min_keypoint_score is None else settings.min_keypoint_score,
        image_root=settings.image_root,
        max_images=settings.max_images,
        as_of=settings.as_of,
        source=settings.source,
    )
    summary = export_run(settings.output, settings.format, settings.to, Storage(), options)
    print("\n".join(summary.lines()))
    return ExitCode.COMPLETE


def _report(settings: ReportSettings) -> int:
    from pipeline.report import report_run
    from pipeline.storage import Storage

    address = report_run(
        settings.output, settings.output, Storage(), min_score=settings.min_score, as_of=settings.as_of
    )
    print(address)
    return ExitCode.COMPLETE


def _ended(outcome: Outcome) -> int:
    from pipeline.driver.summary import show_outcome

    show_outcome(outcome)
    return outcome.exit_code


if __name__ == "__main__":
    leave(main)
