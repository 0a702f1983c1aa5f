"""`annotate.py sync`: what is new, what changed and what is gone, in one output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.annotation import SETTINGS, require_same_rows, some_images, write_images
from support.standing import Standing, picture

from jobs.annotate import main
from pipeline.exit_codes import ExitCode
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, InvariantBroken

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


@pytest.fixture
def standing(bucket: Path, tmp_path: Path) -> Standing:
    """Finished by a network that does nothing, in this process."""
    found = Standing(Storage(), str(bucket), str(tmp_path / "out"))
    assert found.sync().exit_code == 0
    return found


def arguments(standing: Standing, *more: str) -> list[str]:
    return [
        *("--input", standing.input, "--output", standing.output_uri, "--model", "m", "--weights", "w"),
        *("--unit-images", "2", "--table-units", "2", "--precision", "float32", *more),
    ]


def objects_of(standing: Standing) -> dict[str, str]:
    found = {info.uri: info.etag for info in Storage().list(standing.output_uri)}
    return {uri: etag for uri, etag in found.items() if not uri.endswith(("lock.json", "outcome.json"))}


def test_a_night_without_anything_new_ends_well_without_ray_and_torch(standing: Standing):
    before = objects_of(standing)
    script = (
        "import sys; from jobs.annotate import main; code = main(sys.argv[1:]); "
        "print(sorted({'ray', 'torch'} & sys.modules.keys())); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "sync", *arguments(standing)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing new" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert objects_of(standing) == before


@pytest.mark.parametrize("other", [("--scales", "1,2"), ("--max-pixels", "9"), ("--exclude", "*.gif")])
def test_other_settings_are_refused_also_where_nothing_is_new(standing: Standing, other: tuple[str, str]):
    assert main(["sync", *arguments(standing, *other)]) == ExitCode.DIFFERENT_RUN


def test_an_input_of_which_nothing_is_left_is_not_believed(
    standing: Standing, bucket: Path, capsys: pytest.CaptureFixture[str]
):
    for file in bucket.iterdir():
        file.unlink()
    before = objects_of(standing)
    assert main(["sync", *arguments(standing)]) == ExitCode.BAD_CONFIGURATION
    assert "nothing is left of it, and all 6" in capsys.readouterr().err
    assert objects_of(standing) == before
    assert main(["sync", *arguments(standing, "--accept-empty", "--replaced-grace-s", "0")]) == 0
    assert DeltaTable(f"{standing.output_uri}/tables/images").to_pyarrow_table().num_rows == 0


def test_plan_says_what_a_sync_would_do_and_status_what_syncs_did(
    standing: Standing, bucket: Path, capsys: pytest.CaptureFixture[str]
):
    (bucket / "new.png").write_bytes(picture(70))
    (bucket / "1.png").write_bytes(picture(-1))
    (bucket / "2.png").unlink()
    (bucket / "words.txt").write_bytes(b"words")
    before = objects_of(standing)
    capsys.readouterr()
    assert (
        main(["plan", *arguments(standing, "--images-per-second", "1", "--price-per-device-hour", "36")]) == 0
    )
    planned = capsys.readouterr().out
    assert "changes   1 new, 1 stale, 1 orphaned" in planned
    assert "images    2\n" in planned
    assert "skipped   1 .txt" in planned
    assert "cost      0.02" in planned
    assert objects_of(standing) == before

    standing.sync()
    assert main(["status", "--output", standing.output_uri]) == 0
    said = capsys.readouterr().out
    assert "1 new, 1 stale, 1 orphaned; 2 annotated, 1 failed" in said
    assert main(["status", "--output", standing.output_uri, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["generations"]
    assert (first["generation"], first["units_total"], first["published"]) == (1, 3, True)
    assert (second["new"], second["stale"], second["orphaned"]) == (1, 1, 1)
    assert (second["images"], second["failed"], second["published"]) == (2, 1, True)


def test_only_what_changed_is_written_and_older_generations_can_be_exported(
    standing: Standing, bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = objects_of(standing)
    (bucket / "new.png").write_bytes(picture(70))
    standing.sync()
    record = standing.output.require_record()
    assert [entry.key for entry in standing.output.unit(record, "u00000003").objects] == ["new.png"]
    assert [entry.key for entry in standing.output.unit(record, "u00000001").objects] == ["2.png", "3.png"]
    with pytest.raises(ConfigurationError, match="no unit 'u00000004'"):
        standing.output.unit(record, "u00000004")
    gone = before.keys() - objects_of(standing).keys()
    changed = {uri for uri, etag in objects_of(standing).items() if before.get(uri, etag) != etag}
    assert not gone
    assert changed == {f"{standing.output_uri}/tables/_SUCCESS.json"}
    for as_of, count in ((["--as-of", "1"], 6), ([], 7)):
        folder = tmp_path / f"coco{count}"
        export = ["export", "--output", standing.output_uri, "--format", "coco", "--to", str(folder)]
        assert main([*export, *as_of]) == 0
        assert f"{count} images" in capsys.readouterr().out
    assert (
        main(["export", "--output", standing.output_uri, "--format", "coco", "--to", "x", "--as-of", "3"])
        == 2
    )
    assert "no generation 3; the last one is 2" in capsys.readouterr().err


def test_a_list_of_a_generation_that_was_deleted_is_missed_by_name(standing: Standing, bucket: Path):
    (bucket / "1.png").write_bytes(picture(40))
    standing.sync()
    (bucket / "2.png").write_bytes(picture(41))
    for name in ("inventory", "gone"):
        (list_of,) = Path(standing.output_uri, "generations", "g0002").glob(f"{name}-*.parquet")
        data = list_of.read_bytes()
        list_of.unlink()
        with pytest.raises(InvariantBroken, match=f"{list_of.name}: gone, though the generation"):
            standing.sync()
        list_of.write_bytes(data)
    assert standing.sync().exit_code == 0


def test_rebuilding_gives_the_last_generation_a_log_of_its_own(
    standing: Standing, bucket: Path, capsys: pytest.CaptureFixture[str]
):
    (bucket / "1.png").write_bytes(picture(40))
    standing.sync()
    rows = standing.rows()
    assert main(["finalize", "--output", standing.output_uri, "--rebuild"]) == 0
    assert standing.rows() == rows
    delta = DeltaTable(f"{standing.output_uri}/tables/images")
    assert (delta.version(), delta.to_pyarrow_table().num_rows) == (0, 6)
    assert not Path(standing.output_uri, "tables", "images", "_replaced").exists() or not any(
        Path(standing.output_uri, "tables", "images", "_replaced").iterdir()
    )
    (bucket / "2.png").write_bytes(picture(41))
    standing.sync()
    assert DeltaTable(f"{standing.output_uri}/tables/images").to_pyarrow_table().num_rows == 6


@pytest.mark.slow
def test_a_bucket_that_grows_shrinks_and_changes_has_the_tables_of_a_run_over_it(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = some_images(14)
    given, output = write_images(tmp_path / "in", images), str(tmp_path / "out")
    places = ["--input", given, "--output", output, *SETTINGS, "--replaced-grace-s", "0"]
    assert main(["sync", *places]) == 0
    folder = Path(given)
    (folder / "000.png").write_bytes(images["005.png"])
    (folder / "003.png").unlink()
    (folder / "004.png").rename(folder / "zzz.png")
    (folder / "more").mkdir()
    (folder / "more" / "006.png").write_bytes(images["006.png"])
    capsys.readouterr()
    assert main(["run", *places]) == 0
    assert "2 new, 1 stale, 2 orphaned: `sync` brings the tables up to date" in capsys.readouterr().out

    assert main(["sync", *places]) == 0
    assert "generation 2: 2 new, 1 stale, 2 orphaned" in capsys.readouterr().out
    fresh = str(tmp_path / "fresh")
    assert main(["run", "--input", given, "--output", fresh, *SETTINGS]) == 0
    require_same_rows(output, fresh)
    assert main(["sync", *places]) == 0
    assert "nothing new" in capsys.readouterr().out
    other = [*places[:4], *SETTINGS, "--weights", "posrefine:tiny_coco", "--input-size", "64"]
    assert main(["sync", *other]) == ExitCode.DIFFERENT_RUN

    for _ in range(2):
        capsys.readouterr()
        assert main(["sync", *other, "--replace", "--replaced-grace-s", "0"]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert main(["run", "--input", given, "--output", f"{fresh}-2", *other[4:]]) == 0
    require_same_rows(output, f"{fresh}-2")
    assert main(["sync", *places]) == ExitCode.DIFFERENT_RUN
