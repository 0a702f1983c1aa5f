"""Syncs are killed at every step: the same command goes on, and no generation is half there or doubled."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.annotation import (
    annotate,
    is_free,
    require_same_rows,
    require_whole_objects,
    some_images,
    start_driver,
    write_images,
)

from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"), pytest.mark.slow]

IMAGES = some_images(12)
STEPS = [
    r"before:g0002/manifest-",
    r"after:g0002/inventory-",
    r"before:g0002/generation\.json",
    r"after:g0002/generation\.json",
    r"receipt:1",
    r"before:tables/images/part-g0001-",
    r"after:tables/persons/part-g0002-",
    r"after:tables/images/_replaced/",
    r"before:tables/images/_delta_log/",
    r"after:tables/images/_delta_log/",
    r"after:tables/persons/_delta_log/",
    r"before:_SUCCESS",
    r"after:_SUCCESS",
    r"before:outcome\.json",
    r"deleted:tables/images/part-g0001-",
    r"deleted:tables/persons/part-g0001-",
]
"""The moments of a sync, in order: planning, units, files, the one table and the other, and cleaning."""


def keys_by_success(output: str) -> list[str]:
    return sorted(image.image_key for image in RunOutput.at(output, Storage()).images())


def keys_by_log(output: str, name: str) -> set[str]:
    rows = DeltaTable(f"{output}/tables/{name}").to_pyarrow_table(columns=["image_key"])
    keys = rows["image_key"].to_pylist()
    assert name == "persons" or len(keys) == len(set(keys)), "an image is there twice"
    return set(keys)


def test_a_sync_killed_at_every_step_one_after_the_other_loses_and_doubles_nothing(
    cluster: str, tmp_path: Path
):
    given, output = write_images(tmp_path / "in", IMAGES), str(tmp_path / "out")
    places = ("--replaced-grace-s", "0")
    assert annotate(given, output, *places) == 0
    before = keys_by_success(output)
    folder = Path(given)
    (folder / "000.png").write_bytes(IMAGES["005.png"])
    (folder / "003.png").unlink()
    for name in ("n1.png", "n2.png", "n3.png"):
        (folder / name).write_bytes(IMAGES["007.png"])
    after = sorted({*before, "n1.png", "n2.png", "n3.png"} - {"003.png"})
    persons = [keys_by_log(output, "persons")]

    died = []
    for step in STEPS:
        driver = start_driver(given, output, cluster, *places, dies=step, command="sync")
        said, _ = driver.communicate(timeout=300)
        assert driver.returncode in (0, -signal.SIGKILL), said
        died += [step] if driver.returncode else []
        assert is_free(output) or driver.returncode
        assert keys_by_success(output) in (before, after), step
        assert sorted(keys_by_log(output, "images")) in (before, after), step
        persons.append(keys_by_log(output, "persons"))
    assert died == STEPS

    last = start_driver(given, output, cluster, *places, command="sync")
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said
    fresh = str(tmp_path / "fresh")
    assert annotate(given, fresh) == 0
    require_same_rows(output, fresh)
    require_whole_objects(output)
    assert all(found in (persons[0], keys_by_log(output, "persons")) for found in persons)
