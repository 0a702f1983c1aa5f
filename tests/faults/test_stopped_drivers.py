"""Drivers are stopped (SIGSTOP) at a named put, another one takes over, and the first is continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.annotation import (
    annotate,
    is_free,
    require_same_tables,
    some_images,
    start_driver,
    table,
    write_images,
)
from support.images import encode, gradient

from jobs.annotate import main
from pipeline.exit_codes import ExitCode
from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

DYING_DRIVER = Path(__file__).parents[1] / "support" / "dying_driver.py"
EXPIRY = ("--lock-expiry-s", "6")


def wait_until_stopped(driver: subprocess.Popen[str]) -> None:
    """Until the driver has stopped itself, and its lease counts as abandoned."""
    for _ in range(2400):
        if Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            time.sleep(7)
            return
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("the driver did not stop")


def stopped_driver(given: str, output: str, cluster: str, when: str) -> subprocess.Popen[str]:
    driver = start_driver(given, output, cluster, *EXPIRY, dies=when)
    try:
        wait_until_stopped(driver)
    except BaseException:
        driver.kill()
        raise
    return driver


def goes_on(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Continue it; its exit code and what it said."""
    os.kill(driver.pid, signal.SIGCONT)
    said, _ = driver.communicate(timeout=120)
    return driver.returncode, said


def everything(output: str) -> dict[str, bytes]:
    """Everything but the lease, and lists of units: those that nothing names are litter."""
    files = (path for path in Path(output).rglob("*") if path.is_file())
    files = (path for path in files if path.name != "lock.json" and not path.name.startswith("manifest-"))
    return {str(path): path.read_bytes() for path in files}


def results(output: str) -> dict[str, bytes]:
    """Without files of tables that their logs do not name: no reader of the tables meets those."""
    found = everything(output)
    for name in ("images", "persons"):
        folder = Path(output, "tables", name)
        named = set(RunOutput.at(output, Storage()).log(name).snapshot().files)
        litter = {str(path) for path in folder.glob("*.parquet") if path.name not in named}
        found = {path: content for path, content in found.items() if path not in litter}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        "stop-before:manifest-",
        "stop-before:run\\.json",
        "stop-before:tables/images/part-g0001-00000",
        "stop-before:_SUCCESS",
        "stop-before:outcome",
    ],
)
def test_a_driver_that_slept_while_another_completed_changes_nothing_and_ends_with_code_5(
    cluster: str, tmp_path: Path, when: str
):
    images = some_images(6)
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")
    driver = stopped_driver(given, output, cluster, when)
    (tmp_path / "images" / "more.png").write_bytes(encode(gradient(70, 70), "PNG"))

    assert annotate(given, output, *EXPIRY) == 0
    (tmp_path / "images" / "005.jpg").write_bytes(encode(gradient(64, 64)))
    assert main(["retry-failed", "--output", output]) == 0
    before = results(output)

    code, said = goes_on(driver)

    assert code == ExitCode.LOCKED, said
    assert results(output) == before
    assert is_free(output)
    assert annotate(given, output, *EXPIRY) == 0
    assert set(table(output, "images")["status"].to_pylist()) == {"ok"}
    # That also takes away what the sleeper may have put between a look at its lease and the next.
    outcome = str(Path(output, "outcome.json"))
    assert everything(output) | {outcome: b""} == before | {outcome: b""}


@pytest.mark.slow
def test_a_retry_that_slept_over_its_last_put_leaves_what_others_repaired(cluster: str, tmp_path: Path):
    given, output = write_images(tmp_path / "images", some_images(6)), str(tmp_path / "out")
    assert annotate(given, output, *EXPIRY) == 0
    # Damaged otherwise now, so that the first retry has something to write.
    (tmp_path / "images" / "005.jpg").write_bytes(b"")
    again = subprocess.Popen(
        [sys.executable, str(DYING_DRIVER), "stop-before:_SUCCESS", "retry-failed", "--output", output],
        env=os.environ | {"RAY_ADDRESS": cluster},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until_stopped(again)
    assert json.loads(Path(output, "outcome.json").read_text())["complete"] is False
    (tmp_path / "images" / "005.jpg").write_bytes(encode(gradient(64, 64)))
    assert main(["retry-failed", "--output", output]) == 0
    before = results(output)

    code, said = goes_on(again)

    assert code == ExitCode.LOCKED, said
    assert results(output) == before
    assert set(table(output, "images")["status"].to_pylist()) == {"ok"}


@pytest.mark.slow
def test_a_driver_that_slept_while_units_were_made_ends_with_code_5_and_leaves_the_outcome(
    cluster: str, tmp_path: Path
):
    given, undisturbed = write_images(tmp_path / "images", some_images(12)), str(tmp_path / "undisturbed")
    assert annotate(given, undisturbed) == 0
    output = str(tmp_path / "out")
    driver = stopped_driver(given, output, cluster, "stop-after:run\\.json")
    assert annotate(given, output, *EXPIRY) == 0
    before = results(output)

    code, said = goes_on(driver)

    assert code == ExitCode.LOCKED, said
    assert results(output) == before
    require_same_tables(output, undisturbed)
