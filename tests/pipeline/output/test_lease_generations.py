"""Whatever a holder of the lease writes names its generation, and every later holder has a higher one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.annotation import SETTINGS, annotate, write_images
from support.images import encode, gradient

from jobs.annotate import main
from pipeline.output.run_output import RunOutput
from pipeline.output.unit_footer import UnitFooter
from pipeline.storage import Storage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

QUICK = ("--replaced-grace-s", "0")


def named_by(path: Path) -> int | None:
    """The lease's generation that a file says it was written under."""
    if path.suffix == ".parquet":
        return UnitFooter.of(str(path), pq.read_metadata(path).metadata).lease_generation
    if path.parent.name == "_delta_log":
        # Delta's own readers take what others add to a commit as text.
        return int(json.loads(path.read_text().splitlines()[0])["commitInfo"]["lease_generation"])
    found: int | None = json.loads(path.read_text())["lease_generation"]
    return found


def lease_generations(output: str) -> dict[str, int | None]:
    """Of every file that says it, by its path below the output."""
    root = Path(output)
    files = [*root.rglob("*.json"), *root.rglob("units/*.parquet")]
    return {str(file.relative_to(root)): named_by(file) for file in files if file.name != "lock.json"}


def holders(output: str) -> int:
    """How many have held the lease so far."""
    found: int = json.loads(Path(output, "lock.json").read_text())["generation"]
    return found


def commits(number: int) -> list[str]:
    return [f"tables/{name}/_delta_log/{number:020d}.json" for name in ("images", "persons")]


def test_all_that_a_run_and_a_sync_write_names_the_lease_that_each_of_them_held(cluster: str, tmp_path: Path):
    images = {f"{number}.png": encode(gradient(64 + number, 64), "PNG") for number in range(2)}
    given, output = write_images(tmp_path / "in", images), str(tmp_path / "out")
    with RunOutput.at(output, Storage()).lock(60):
        pass  # whoever had the first one wrote nothing
    assert annotate(given, output, *QUICK) == 0
    run = dict.fromkeys(
        ["run.json", "units/u00000000.parquet", *commits(0), "tables/_SUCCESS.json", "outcome.json"], 2
    )
    assert (lease_generations(output), holders(output)) == (run, 2)

    (tmp_path / "in" / "0.png").unlink()
    assert main(["sync", "--input", given, "--output", output, *SETTINGS, *QUICK]) == 0
    sync = dict.fromkeys(
        ["generations/g0002/generation.json", *commits(1), "tables/_SUCCESS.json", "outcome.json"], 3
    )
    assert (lease_generations(output), holders(output)) == (run | sync, 3)
