"""What all jobs have in common: how they start, what they load, how they say an error, and how they end."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobs.annotate
import jobs.evaluate
import jobs.overlap
import jobs.pack
import jobs.review
import jobs.submit
import jobs.train
import jobs.train_score
from jobs.log_lines import logging_to_stderr
from posrefine.version import code_version

ROOT = Path(__file__).parents[2]
MAINS: dict[str, Callable[[list[str]], int]] = {
    "annotate": jobs.annotate.main,
    "evaluate": jobs.evaluate.main,
    "overlap": jobs.overlap.main,
    "pack": jobs.pack.main,
    "review": jobs.review.main,
    "submit": jobs.submit.main,
    "train": jobs.train.main,
    "train_score": jobs.train_score.main,
}
SECRET = "s3://KEY:hunter2@bucket/x"
EVALUATION = ["--annotations", "a", "--protocol", "coco", "--output", "o"]
EVERY_WAY = {
    "run": ["run", "--input", "/i", "--model", "m", "--weights", "w"],
    "plan": ["plan", "--input", "/i", "--model", "m", "--weights", "w"],
    "status": ["status"],
    "finalize": ["finalize"],
    "retry-failed": ["retry-failed"],
    "replay": ["replay", "--unit", "u"],
    "export": ["export", "--format", "coco", "--to", "/t"],
    "report": ["report"],
}


def in_new_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )


HELP = """
import argparse, importlib, sys
for job in sys.argv[1:]:
    module = importlib.import_module(f"jobs.{job}")
    chosen = [a for a in module.parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for command in [[], *([name] for action in chosen for name in action.choices)]:
        try:
            module.main([*command, "--help"])
        except SystemExit as ended:
            assert ended.code == 0
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
SLOW = {"torch", "ray", "pyarrow", "s3fs", "fsspec", "botocore", "numpy", "PIL", "scipy", "pandas", "jinja2"}


@pytest.mark.parametrize("job", MAINS)
def test_help_of_every_job_and_command_loads_nothing_that_is_slow(job: str):
    done = in_new_process(HELP, job)
    loaded = set(done.stderr.split())
    assert {"argparse", "jobs", "pipeline", "posrefine"} <= loaded
    assert not loaded & SLOW
    commands = {"annotate": 9, "evaluate": 3, "review": 8}
    assert done.stdout.count(f"usage: {job}.py") == 1 + commands.get(job, 0)


def test_every_job_starts_and_ends_in_the_one_way():
    """No job has signals, errors or exit codes of its own: `run_job` reads the line, `leave` ends."""
    scripts = {path.stem: path.read_text() for path in (ROOT / "jobs").glob("*.py")}
    jobs_ = {name: ast.parse(text) for name, text in scripts.items() if "__main__" in text}
    assert jobs_.keys() == MAINS.keys()
    for name, tree in jobs_.items():
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert calls.count("run_job") == calls.count("leave") == 1, name
        assert not {"signal.signal", "sys.exit", "os._exit", "SystemExit"} & set(calls), name
        caught = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        assert not any("PosRefineError" in one for one in caught), name


def test_the_status_of_an_output_loads_neither_torch_nor_ray(tmp_path: Path):
    code = "import sys; from jobs.annotate import main; print(main(sys.argv[1:]), *sys.modules)"
    code_, *loaded = in_new_process(code, "status", "--output", str(tmp_path)).stdout.split()
    assert code_ == "2"
    assert "pipeline.output.status" in loaded
    assert not {"torch", "ray"} & set(loaded)


@pytest.mark.parametrize("job", MAINS)
def test_every_job_tells_which_code_it_is(job: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        MAINS[job](["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"posrefine {code_version()}\n"


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        *[("annotate", [*way, "--output", SECRET]) for way in EVERY_WAY.values()],
        ("annotate", ["status", "--output", "/o", "--no-such-option", SECRET]),
        ("annotate", ["export", "--output", "/o", "--to", "/t", "--format", SECRET]),
        ("evaluate", ["--predictions", SECRET, *EVALUATION]),
        ("evaluate", ["--predictions", "p", *EVALUATION, "--pushgateway", "user:hunter2@gateway:9091"]),
        ("overlap", ["--annotations", SECRET, *["--protocol", "coco", "--training", "t", "--output", "o"]]),
        ("pack", ["--output", SECRET, "--synthetic", "1"]),
        ("review", ["select", "--output", SECRET, "--budget", "1"]),
        ("submit", ["--name", "nightly", "--", "python", "jobs/annotate.py", "run", "--output", SECRET]),
        ("train", ["--output", SECRET, "--synthetic", "1"]),
        ("train_score", ["--output", "/o", "--annotations", "a", "--run", "/r", SECRET]),
    ],
)  # fmt: skip
def test_credentials_in_an_address_are_refused_by_every_job_and_never_shown(
    job: str, arguments: list[str], capfd: pytest.CaptureFixture[str]
):
    try:
        code = MAINS[job](arguments)
    except SystemExit as ended:
        code = ended.code
    said = "".join(capfd.readouterr())
    assert code == 2
    assert "hunter2" not in said
    assert "credentials" in said or "s3://***@bucket/x" in said


@pytest.mark.parametrize("where", ["before", "behind"])
def test_errors_and_log_lines_are_objects_where_programs_read_them(
    where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("POSREFINE_DEPLOYED_BY", "helm")
    form = ["--log-format", "json"]
    command = ["status", "--output", f"{tmp_path}?token=abc"]
    arguments = [*form, *command] if where == "before" else [*command, *form]
    assert jobs.annotate.main(arguments) == 2
    warning, error = map(json.loads, capsys.readouterr().err.splitlines())
    assert (warning["level"], warning["logger"]) == ("warning", "pipeline.settings.environment")
    assert "POSREFINE_DEPLOYED_BY" in warning["message"]
    assert (error["level"], error["error"], error["exit_code"]) == ("error", "ConfigurationError", 2)
    assert f"{tmp_path}?token=***: no run has begun there" in error["message"]
    assert warning["time"] <= error["time"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--log-format", "json", "status", "--output", "/o", "--no-such-option", SECRET],
        ["status", "--output", "/o", "--no-such-option", SECRET, "--log-format=json"],
        ["export", "--format", SECRET, "--log-format", "json"],
    ],
)
def test_what_is_wrong_with_a_command_line_is_an_object_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        jobs.annotate.main(arguments)
    assert ended.value.code == 2
    error = json.loads(capsys.readouterr().err)
    assert (error["level"], error["error"], error["exit_code"]) == ("error", "usage", 2)
    assert error["message"].startswith("annotate.py")
    assert "s3://***@bucket/x" in error["message"]


def test_what_stands_behind_two_dashes_asks_for_no_form(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        jobs.submit.main(["--no-such-option", "--", "python", "x.py", "--log-format", "json"])
    assert capsys.readouterr().err.startswith("usage: submit.py")


@pytest.mark.parametrize("from_environment", [False, True])
def test_an_error_that_nobody_foresaw_is_one_object_with_its_traceback(from_environment: bool):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = ["--fail", "--log-format", "json"]
    if from_environment:
        environment["POSREFINE_LOG_FORMAT"] = arguments.pop()
        arguments.pop()
    done = subprocess.run(
        [sys.executable, "-c", JOB, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    error = json.loads(done.stderr)
    assert (error["level"], error["error"], error["exit_code"]) == ("error", "RuntimeError", 1)
    assert error["message"] == "at http://***@host/"
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert error["traceback"].endswith("RuntimeError: at http://***@host/\n")
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("job", MAINS)
def test_no_help_has_a_usage_line_written_by_hand(job: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        MAINS[job](["--help"])
    assert not re.search(r"python jobs/|jobs/\w+\.py .*--", capsys.readouterr().out)


def test_the_form_of_log_lines_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("POSREFINE_LOG_FORMAT", "json")
    assert jobs.annotate.main(["status", "--output", str(tmp_path)]) == 2
    assert json.loads(capsys.readouterr().err)["exit_code"] == 2
    monkeypatch.setenv("POSREFINE_LOG_FORMAT", "xml")
    assert jobs.annotate.main(["status", "--output", str(tmp_path)]) == 2
    assert "setting log_format: 'xml' will not do" in capsys.readouterr().err


def test_log_lines_begin_with_a_time_and_show_no_secret(capsys: pytest.CaptureFixture[str]):
    import logging

    with logging_to_stderr("text", verbose=False):
        logging.getLogger("pipeline.x").info("reading %s", SECRET)
        logging.getLogger("pipeline.x").debug("not said")
        logging.getLogger("elsewhere").info("not said")
    with logging_to_stderr("text", verbose=True):
        logging.getLogger("pipeline.x").debug("said now")
    first, second = capsys.readouterr().err.splitlines()
    time_ = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"
    assert re.fullmatch(rf"{time_} reading s3://\*\*\*@bucket/x", first)
    assert re.fullmatch(rf"{time_} debug: said now", second)


JOB = """
import sys, time
from jobs.start import job_parser, leave, run_job

def work(given):
    if given.fail:
        raise RuntimeError("at http://user:hunter2@host/")
    print("at work", flush=True)
    time.sleep(60)

def main():
    parser = job_parser("job.py", "A job.")
    parser.add_argument("--fail", action="store_true")
    parser.set_defaults(handler=work)
    return run_job(parser, None, when_interrupted="do it again")

leave(main)
"""


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_termination_and_ctrl_c_end_with_code_75_and_without_a_traceback(signal_: signal.Signals):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", JOB],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal_)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert said == "interrupted (exit code 75): do it again\n"


def test_an_error_that_nobody_foresaw_is_shown_without_secrets_and_ends_with_code_1():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", JOB, "--fail"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: at http://***@host/" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_job_leaves_the_process_as_it_found_it(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    assert jobs.annotate.main(["status", "--output", str(tmp_path)]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_usage_lines_name_the_options_of_their_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        jobs.annotate.main(["replay", "--help"])
    assert re.search(r"usage: annotate.py replay .*--unit TEXT", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images-per-second", "0"], "images_per_second: '0' will not do"),
        (["--images-per-second", "nan"], "images_per_second: 'nan' will not do"),
        (["--price-per-device-hour", "-1"], "price_per_device_hour: '-1' will not do"),
    ],
)
def test_an_estimate_at_an_impossible_speed_or_price_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    way = [*EVERY_WAY["plan"], "--output", "/o"]
    assert jobs.annotate.main([*way, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("evaluate", "--predictions {0}/p.json --annotations {0}/a.json --protocol coco --output {0}/o"),
        ("overlap", "--annotations {0}/a.json --protocol coco --training {0}/t.json --output {0}/o.json"),
        ("pack", "--images {0} --annotations {0}/a.json --output {0}/o"),
    ],
)
def test_a_file_that_was_named_and_is_not_there_is_bad_input(
    job: str, arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert MAINS[job](arguments.format(tmp_path).split()) == 2
    assert f"{tmp_path}/a.json" in capsys.readouterr().err


def test_a_reader_of_the_output_that_goes_away_is_met_without_a_traceback(tmp_path: Path):
    script = tmp_path / "job.py"
    script.write_text(
        "from jobs.start import leave\n\n\ndef main() -> int:\n    for line in range(100_000):\n"
        "        print(line)\n    return 0\n\n\nleave(main)\n"
    )
    command = f"{shlex.quote(sys.executable)} {script} | head -1"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
