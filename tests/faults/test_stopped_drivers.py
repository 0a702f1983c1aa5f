"""Drivers are stopped (SIGSTOP) at a named put, another one takes over, and the first is continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.annotation import (
    SETTINGS,
    annotate,
    is_free,
    require_same_tables,
    some_images,
    table,
    write_images,
)
from support.images import encode, gradient
from support.standing import Standing, persons_in, picture

from jobs import review
from jobs.annotate import main
from pipeline.exit_codes import ExitCode
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import MODEL
from pipeline.storage import Storage
from posrefine.skeletons import COCO

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

DYING_DRIVER = Path(__file__).parents[1] / "support" / "dying_driver.py"
EXPIRY_S = 6
QUICK = ("--lock-expiry-s", str(EXPIRY_S), "--replaced-grace-s", "0")
"""Leases are soon abandoned, and replaced files are not kept for readers who opened the tables before."""


@contextmanager
def stopped(when: str, *command: str, cluster: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command in a process that has stopped itself, and whose lease counts as abandoned.

    It is killed at the end of the block, if it is still there.
    """
    environment = os.environ | ({} if cluster is None else {"RAY_ADDRESS": cluster})
    with subprocess.Popen(
        [sys.executable, str(DYING_DRIVER), when, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as driver:
        try:
            wait_until_stopped(driver)
            yield driver
        finally:
            driver.kill()


def wait_until_stopped(driver: subprocess.Popen[str]) -> None:
    """Until the driver has stopped itself, and its lease counts as abandoned."""
    for _ in range(2400):
        if Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            time.sleep(EXPIRY_S + 1)
            return
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("the driver did not stop")


def goes_on(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Continue it; its exit code and what it said."""
    os.kill(driver.pid, signal.SIGCONT)
    said, _ = driver.communicate(timeout=120)
    return driver.returncode, said


def require_that_it_gives_up(driver: subprocess.Popen[str], output: str) -> None:
    """Let it go on: it ends with code 5, and what counts stays as the others left it."""
    before = results(output)
    code, said = goes_on(driver)
    assert code == ExitCode.LOCKED, said
    assert results(output) == before


def everything(output: str) -> dict[str, bytes]:
    """Everything but the lease, and lists of units: those that nothing names are litter."""
    files = (path for path in Path(output).rglob("*") if path.is_file())
    files = (path for path in files if path.name != "lock.json" and not path.name.startswith("manifest-"))
    return {str(path): path.read_bytes() for path in files}


def but_the_outcome(output: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """An attempt with nothing to do writes how it ended, and nothing else."""
    return {path: content for path, content in found.items() if path != f"{output}/outcome.json"}


def results(output: str) -> dict[str, bytes]:
    """Without files of tables that their logs do not name: no reader of the tables meets those."""
    found = everything(output)
    for name in ("images", "persons"):
        folder = Path(output, "tables", name)
        named = set(RunOutput.at(output, Storage()).log(name).snapshot().files)
        litter = {str(path) for path in folder.glob("*.parquet") if path.name not in named}
        found = {path: content for path, content in found.items() if path not in litter}
    return found


def run_of(given: str, output: str) -> list[str]:
    return ["run", "--input", given, "--output", output, *SETTINGS, *QUICK]


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
    with stopped(when, *run_of(given, output), cluster=cluster) as driver:
        (tmp_path / "images" / "more.png").write_bytes(encode(gradient(70, 70), "PNG"))
        assert annotate(given, output, *QUICK) == 0
        (tmp_path / "images" / "005.jpg").write_bytes(encode(gradient(64, 64)))
        assert main(["retry-failed", "--output", output]) == 0
        before = results(output)

        require_that_it_gives_up(driver, output)

    assert is_free(output)
    assert annotate(given, output, *QUICK) == 0
    assert set(table(output, "images")["status"].to_pylist()) == {"ok"}
    # That also takes away what the sleeper may have put between a look at its lease and the next.
    assert but_the_outcome(output, everything(output)) == but_the_outcome(output, before)


@pytest.mark.slow
def test_a_retry_that_slept_over_its_last_put_leaves_what_others_repaired(cluster: str, tmp_path: Path):
    given, output = write_images(tmp_path / "images", some_images(6)), str(tmp_path / "out")
    assert annotate(given, output, *QUICK) == 0
    # Damaged otherwise now, so that the first retry has something to write.
    (tmp_path / "images" / "005.jpg").write_bytes(b"")
    with stopped("stop-before:_SUCCESS", "retry-failed", "--output", output, cluster=cluster) as again:
        assert json.loads(Path(output, "outcome.json").read_text())["complete"] is False
        (tmp_path / "images" / "005.jpg").write_bytes(encode(gradient(64, 64)))
        assert main(["retry-failed", "--output", output]) == 0

        require_that_it_gives_up(again, output)

    assert set(table(output, "images")["status"].to_pylist()) == {"ok"}


@pytest.mark.slow
def test_a_driver_that_slept_while_units_were_made_ends_with_code_5_and_leaves_the_outcome(
    cluster: str, tmp_path: Path
):
    given, undisturbed = write_images(tmp_path / "images", some_images(12)), str(tmp_path / "undisturbed")
    assert annotate(given, undisturbed) == 0
    output = str(tmp_path / "out")
    with stopped("stop-after:run\\.json", *run_of(given, output), cluster=cluster) as driver:
        assert annotate(given, output, *QUICK) == 0

        require_that_it_gives_up(driver, output)

    require_same_tables(output, undisturbed)


# What follows needs neither Ray nor Torch: the network of these outputs does nothing, and the commands that
# sleep have nothing to annotate.


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Six images with what the network that does nothing finds: three units, two groups of the tables."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number, 64))
    found = Standing(Storage(), str(folder), str(tmp_path / "out"), {"lock_expiry_s": EXPIRY_S})
    assert found.sync().exit_code == 0
    return found


def sync_of(standing: Standing) -> list[str]:
    return [
        *("sync", "--input", standing.input, "--output", standing.output_uri),
        *("--model", "m", "--weights", "w", "--unit-images", "2", "--table-units", "2"),
        *("--precision", "float32", *QUICK),
    ]


def true_rows(standing: Standing) -> list[tuple[str, str, int]]:
    """What the tables of its input as it is now hold."""
    return [
        (str(path), "ok", persons_in(path.read_bytes())) for path in sorted(Path(standing.input).iterdir())
    ]


def the_input_changes(standing: Standing) -> None:
    """An image is gone, one is another, and one is new."""
    folder = Path(standing.input)
    (folder / "0.png").unlink()
    (folder / "5.png").write_bytes(picture(50, 64))
    (folder / "new.png").write_bytes(picture(70, 64))


def require_changed_nothing(
    standing: Standing, driver: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Let it go on: it ends with code 5, and the next sync finds the tables as the others left them."""
    before = results(standing.output_uri)
    require_that_it_gives_up(driver, standing.output_uri)
    assert is_free(standing.output_uri)
    capsys.readouterr()
    assert main(sync_of(standing)) == 0
    assert "nothing new" in capsys.readouterr().out
    # That took away what the sleeper put between a look at its lease and the next.
    found = but_the_outcome(standing.output_uri, everything(standing.output_uri))
    assert found == but_the_outcome(standing.output_uri, before)
    assert standing.rows() == true_rows(standing)


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        "stop-before:g0002/manifest-",
        "stop-before:g0002/generation\\.json",
        "stop-before:tables/images/part-g0001-00000",
        "stop-before:_SUCCESS",
    ],
)
def test_a_sync_that_slept_while_another_saw_more_changes_changes_nothing(
    standing: Standing, when: str, capsys: pytest.CaptureFixture[str]
):
    Path(standing.input, "1.png").unlink()
    with stopped(when, *sync_of(standing)) as driver:
        the_input_changes(standing)
        # Where the sleeper had planned, the first one does what it planned.
        for _ in range(2):
            assert standing.sync().exit_code == 0
        require_changed_nothing(standing, driver, capsys)


@pytest.mark.slow
def test_a_finalize_that_slept_while_a_sync_published_changes_nothing(
    standing: Standing, capsys: pytest.CaptureFixture[str]
):
    next(Path(standing.output.tree.table_folder("persons")).glob("*.parquet")).unlink()
    with stopped("stop-before:_SUCCESS", "finalize", "--output", standing.output_uri) as driver:
        the_input_changes(standing)
        assert standing.sync().exit_code == 0
        require_changed_nothing(standing, driver, capsys)


@pytest.mark.slow
def test_a_replacement_of_the_network_that_slept_at_its_switch_changes_nothing_and_can_be_made_again(
    cluster: str, standing: Standing, capsys: pytest.CaptureFixture[str]
):
    other = [*sync_of(standing), *SETTINGS[:6], "--weights", "posrefine:tiny_coco", "--replace"]
    with stopped("stop-before:/out/tables/_SUCCESS", *other, cluster=cluster) as driver:
        Path(standing.input, "0.png").unlink()
        assert main(sync_of(standing)) == 0
        require_changed_nothing(standing, driver, capsys)
    assert main(other) == 0
    assert standing.output.require_record().fingerprint.model == "posrefine_tiny"
    assert [row[:2] for row in standing.rows()] == [row[:2] for row in true_rows(standing)]


def answers_for(standing: Standing, key: str) -> str:
    """A file that says of one image that there is one person in it."""
    image = {"id": 1, "file_name": key, "width": 64, "height": 64}
    person = {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 40, 40], "num_keypoints": 17,
        "keypoints": [8, 8, 2] * 17, "iscrowd": 0, "area": 1600,
    }  # fmt: skip
    file = Path(standing.input).parent / f"{key}.json"
    content = {"images": [image], "annotations": [person], "categories": [COCO.coco_category()]}
    file.write_text(json.dumps(content))
    return str(file)


def import_of(standing: Standing, key: str, reviewer: str) -> list[str]:
    file = answers_for(standing, key)
    return ["import", file, "--output", standing.output_uri, "--reviewer", reviewer]


def sources(standing: Standing) -> dict[str, str]:
    return {image.image_key: image.source for image in standing.output.images() if image.source != MODEL}


@pytest.mark.slow
def test_an_import_that_slept_while_another_was_made_changes_nothing_and_can_be_made_again(
    standing: Standing,
):
    first = import_of(standing, "0.png", "ann")
    with stopped("stop-before:review/log/", "review", *first) as driver:
        assert review.main(import_of(standing, "5.png", "ben")) == 0
        require_that_it_gives_up(driver, standing.output_uri)
    assert sources(standing) == {"5.png": "ben"}
    assert review.main(first) == 0
    assert sources(standing) == {"0.png": "ann", "5.png": "ben"}


@pytest.mark.slow
def test_an_undo_that_slept_while_the_same_was_imported_again_changes_nothing_and_can_be_made_again(
    standing: Standing,
):
    first = import_of(standing, "0.png", "ann")
    assert review.main(first) == 0
    undo = ["undo", "--output", standing.output_uri, "--reviewer", "ann"]
    with stopped("stop-before:_SUCCESS", "review", *undo) as driver:
        assert review.main(first) == 0
        require_that_it_gives_up(driver, standing.output_uri)
    assert sources(standing) == {"0.png": "ann"}
    assert review.main(undo) == 0
    assert sources(standing) == {}
