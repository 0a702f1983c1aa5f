"""Annotate images with keypoints: `python jobs/annotate.py run --input ... --output ...`; see `--help`.

Exit codes: 0 complete, 1 crash, 2 bad configuration or usage, 3 complete but over the error budget, 4 output
of a different run, 5 locked by a live run, 75 interrupted, run again. `outcome.json` says the same.

On a cluster: ray job submit --working-dir . --runtime-env-json '{"excludes": ["tests", "docs"]}' --
python jobs/annotate.py run ... (a Ray job makes 1 of every code but 0: look into `outcome.json`).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.command_line import add_settings, settings_given
from pipeline.commit import encode_table
from pipeline.config import load_settings
from pipeline.export import EXPORT_FORMATS, ExportOptions, export_run
from pipeline.outcome import ExitCode, Outcome, exit_code_of
from pipeline.plan import plan_run
from pipeline.replay import replay, replayed_lines
from pipeline.report import report_run
from pipeline.retry import retry_failed
from pipeline.run import finalize_run, run
from pipeline.status import read_status
from pipeline.storage import Storage
from posrefine.errors import PosRefineError

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; unexpected errors are raised."""
    given = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(given.handler(given))
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        print(f"interrupted (exit code {code}): finished units are kept, run again", file=sys.stderr)
        return code


def parser() -> argparse.ArgumentParser:
    """The command line: `command` names the subcommand, `handler` runs it."""
    top = argparse.ArgumentParser(
        prog="annotate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_plan(commands)
    _add_status(commands)
    _add_finalize(commands)
    _add_retry_failed(commands)
    _add_replay(commands)
    _add_export(commands)
    _add_report(commands)
    return top


def _add(
    commands: _Commands,
    name: str,
    handler: Callable[[argparse.Namespace], int],
    arguments: str,
    description: str,
) -> argparse.ArgumentParser:
    added = commands.add_parser(
        name,
        usage=f"annotate.py {name} {arguments}",
        help=description.partition(".")[0][0].lower() + description.partition(".")[0][1:],
        description=description,
        allow_abbrev=False,
    )
    added.set_defaults(handler=handler)
    return added


_SETTINGS_USAGE = "--input URI --output URI --model NAME --weights REF [settings]"
_SETTINGS_NOTE = (
    "Settings come from the command line, the environment (--unit-images is POSREFINE_UNIT_IMAGES) or the "
    "YAML file named by --config (unit_images:), in this order of precedence."
)


def _add_run(commands: _Commands) -> None:
    text = "Annotate the input, or go on where an earlier run ended. " + _SETTINGS_NOTE
    add_settings(_add(commands, "run", _run, _SETTINGS_USAGE, text))


def _run(given: argparse.Namespace) -> int:
    outcome = run(load_settings(settings_given(given)))
    _report(outcome)
    return outcome.exit_code


def _add_plan(commands: _Commands) -> None:
    text = (
        "Say what a run would do and cost, without doing it. Takes the settings of `run`. " + _SETTINGS_NOTE
    )
    added = _add(commands, "plan", _plan, f"{_SETTINGS_USAGE} [estimate]", text)
    estimate = added.add_argument_group("Estimate")
    estimate.add_argument("--images-per-second", type=float, metavar="X", help="speed of one device")
    estimate.add_argument("--price-per-device-hour", type=float, metavar="X", help="in any currency")
    add_settings(added)


def _plan(given: argparse.Namespace) -> int:
    planned = plan_run(load_settings(settings_given(given)), Storage())
    print("\n".join(planned.lines(given.images_per_second, given.price_per_device_hour)))
    return ExitCode.COMPLETE


def _add_status(commands: _Commands) -> None:
    text = "Say where a run stands, from storage alone. Works beside a live run and after a crash."
    _add_output(_add(commands, "status", _status, "--output URI", text))


def _status(given: argparse.Namespace) -> int:
    print("\n".join(read_status(given.output, Storage()).lines(datetime.now(UTC))))
    return ExitCode.COMPLETE


def _add_finalize(commands: _Commands) -> None:
    text = "Write the tables of a run whose units are all finished. `run` does so by itself at its end."
    _add_output(_add(commands, "finalize", _finalize, "--output URI", text))


def _finalize(given: argparse.Namespace) -> int:
    outcome = finalize_run(given.output, Storage())
    _report(outcome)
    return outcome.exit_code


def _add_retry_failed(commands: _Commands) -> None:
    text = "Try the failed images of a finished run once more, in this process, and update its tables."
    usage = "--output URI [--device cpu|cuda] [limits]"
    added = _add(commands, "retry-failed", _retry_failed, usage, text)
    _add_output(added)
    _add_device(added)
    limits = added.add_argument_group("Limits, where they shall be others than the run's")
    limits.add_argument("--max-pixels", type=int, metavar="N", help="of an image")
    limits.add_argument("--max-image-bytes", type=int, metavar="N", help="of an image's file")


def _retry_failed(given: argparse.Namespace) -> int:
    outcome = retry_failed(
        given.output,
        given.device,
        Storage(),
        max_pixels=given.max_pixels,
        max_image_bytes=given.max_image_bytes,
    )
    _report(outcome)
    return outcome.exit_code


def _add_replay(commands: _Commands) -> None:
    text = "Annotate one unit of a run again in this process, without Ray, and print its rows."
    usage = "--output URI --unit ID [--device cpu|cuda] [--save FILE]"
    added = _add(commands, "replay", _replay, usage, text)
    _add_output(added)
    added.add_argument("--unit", required=True, metavar="ID", help="the unit, as in the `unit` column")
    _add_device(added)
    added.add_argument(
        "--save", type=Path, metavar="FILE", help="Parquet file for the rows; none is written else"
    )


def _replay(given: argparse.Namespace) -> int:
    rows = replay(given.output, given.unit, given.device, Storage())
    print("\n".join(replayed_lines(rows)))
    if given.save is not None:
        given.save.write_bytes(encode_table(rows, {}))
    return ExitCode.COMPLETE


def _add_export(commands: _Commands) -> None:
    text = "Write a run's persons in the format of another tool. docs/formats.md describes the formats."
    usage = "--output URI --format FORMAT --to URI [limits]"
    added = _add(commands, "export", _export, usage, text)
    _add_output(added)
    added.add_argument("--format", required=True, choices=tuple(EXPORT_FORMATS))
    added.add_argument("--to", required=True, metavar="URI", help="folder or bucket prefix for the files")
    everyone = ExportOptions()
    limits = added.add_argument_group("Limits")
    limits.add_argument(
        "--min-score", type=float, metavar="X", default=everyone.min_score, help="leave out persons below"
    )
    limits.add_argument(
        "--min-keypoint-score",
        type=float,
        metavar="X",
        default=everyone.min_keypoint_score,
        help="joints below count as not labelled, where the format can say so",
    )
    limits.add_argument("--image-root", metavar="URI", help="where the other tool finds the images")
    limits.add_argument("--max-images", type=int, metavar="N", help="the first so many alone")


def _export(given: argparse.Namespace) -> int:
    options = ExportOptions(given.min_score, given.min_keypoint_score, given.image_root, given.max_images)
    summary = export_run(given.output, given.format, given.to, Storage(), options)
    print("\n".join(summary.lines()))
    return ExitCode.COMPLETE


def _add_report(commands: _Commands) -> None:
    text = "Write report/index.html of a run: its counts, its speed and a gallery. Needs no ground truth."
    _add_output(_add(commands, "report", _write_report, "--output URI", text))


def _write_report(given: argparse.Namespace) -> int:
    print(report_run(given.output, given.output, Storage()))
    return ExitCode.COMPLETE


def _add_output(added: argparse.ArgumentParser) -> None:
    output = os.environ.get("POSREFINE_OUTPUT")
    added.add_argument(
        "--output",
        metavar="URI",
        default=output,
        required=output is None,
        help="of the run (POSREFINE_OUTPUT)",
    )


def _add_device(added: argparse.ArgumentParser) -> None:
    added.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: cpu)")


def _report(outcome: Outcome) -> None:
    print("\n".join(outcome.lines()))


def _leave(code: int) -> None:
    """End the process without the interpreter's shutdown, in which pyarrow's threads can abort it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
