"""One listing, one rule of what a unit is, one reader; and a record that is plain data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.rows import result, some_poses
from support.runs import metadata_of, write_run

from pipeline.inputs.manifest import ManifestSummary
from pipeline.output.record import Fingerprint, NetworkIdentity, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ShardError

ROOT = Path(__file__).parents[3]
UNITS = ([result(0, some_poses(3, 0)), result(1, None)], [result(2, some_poses(2, 2))])


def test_every_reader_passes_over_what_is_no_unit(tmp_path: Path):
    output = RunOutput.at(write_run(tmp_path / "run", UNITS), Storage())
    (tmp_path / "run" / "units" / ".DS_Store").write_bytes(b"Bud1")
    (tmp_path / "run" / "units" / "u000000 (copy).parquet").write_bytes(b"words")

    assert list(output.unit_ids()) == ["u000000", "u000001"]
    assert [image.image_key for image in output.images()] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [len(table) for table in output.columns(["status"])] == [2, 1]
    strangers: list[str] = []
    assert len(list(output.unit_files(strangers))) == 2
    assert strangers == [".DS_Store", "u000000 (copy).parquet"]


def test_units_of_later_generations_are_known_by_the_same_rule(tmp_path: Path):
    output = RunOutput.at(write_run(tmp_path / "run", UNITS), Storage())
    later = tmp_path / "run" / "generations"
    for folder, name in (
        ("g0002/units", "u000002.parquet"),
        ("g0003/units", "u000003.parquet"),
        ("g0002/units", ".DS_Store"),
        ("g0002/units", "u000004 (copy).parquet"),
        ("g0002/units/backup", "u000005.parquet"),
        ("g0002", "u000006.parquet"),
    ):
        (later / folder).mkdir(parents=True, exist_ok=True)
        (later / folder / name).write_bytes(b"words")

    assert output.unit_etags(1).keys() == {"u000000", "u000001"}
    assert output.unit_etags(2).keys() == {"u000000", "u000001", "u000002"}
    assert output.unit_etags(3).keys() == {"u000000", "u000001", "u000002", "u000003"}
    listed = {file.unit_id: file.etag for file in output.of(2).unit_files()}
    assert output.unit_etags(2)["u000002"] == listed["u000002"]


def test_units_are_listed_and_told_from_strangers_in_one_file_and_asked_for_by_one_noun():
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "pipeline").rglob("*.py")}

    def where(pattern: str) -> set[str]:
        return {name for name, text in sources.items() if re.search(pattern, text)}

    rule = "pipeline/output/files.py"
    assert where(r"storage\.list\(\S*tree\.units\)") == where(r"u\[0-9\]\+") == {rule}
    assert where(r"\blist_(all_)?units\(") == {
        rule, "pipeline/output/run_output.py", "pipeline/output/row_files.py"
    }  # fmt: skip


@pytest.mark.parametrize("damage", [b"", b"words", None])
def test_a_unit_that_was_cut_is_named_by_every_reader(tmp_path: Path, damage: bytes | None):
    output = RunOutput.at(write_run(tmp_path / "run", UNITS), Storage())
    rows = output.rows()
    second = tmp_path / "run" / "units" / "u000001.parquet"
    second.write_bytes(second.read_bytes()[:-20] if damage is None else damage)
    for read in (
        lambda: list(output.images()),
        lambda: list(output.columns(["status"])),
        lambda: list(rows.persons(["image_key"], ["score"])),
    ):
        with pytest.raises(ShardError, match=r"u000001\.parquet: is no file that a run wrote.*delete it"):
            read()


@pytest.mark.parametrize("as_tables", [False, True])
def test_files_of_two_runs_are_never_read_as_one(tmp_path: Path, as_tables: bool):
    output = RunOutput.at(write_run(tmp_path / "run", UNITS, as_tables=as_tables), Storage())
    rows = output.rows()
    other = metadata_of(run_id="00cd", model="posrefine_tiny")
    write_run(tmp_path / "other", UNITS, other, as_tables=as_tables)
    name = "tables/persons/part-g0001-00001-0.parquet" if as_tables else "units/u000001.parquet"
    (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    reads = [lambda: list(output.images()), lambda: list(rows.persons(["image_key"], ["score"]))]
    if not as_tables:
        reads.append(lambda: list(output.columns(["status"])))
    for read in reads:
        with pytest.raises(ShardError, match=rf"{Path(name).name}: is of another run \(00cd, .* 00ab\)"):
            read()


@pytest.mark.parametrize("as_tables", [False, True])
def test_columns_of_images_come_with_fields_of_their_persons(tmp_path: Path, as_tables: bool):
    output = RunOutput.at(write_run(tmp_path / "run", UNITS, as_tables=as_tables), Storage())
    first, second = output.persons(["image_key", "status"], ["score", "keypoints"])
    assert first.images["image_key"].to_pylist() == ["0.jpg", "1.jpg"]
    assert first.per_image.tolist() == [3, 0]
    np.testing.assert_array_equal(first.persons.field("score"), some_poses(3, 0).scores)
    np.testing.assert_array_equal(second.persons.field("score"), some_poses(2, 2).scores)


def test_a_run_in_parts_is_the_run(tmp_path: Path):
    units = [[result(number, some_poses(1, number))] for number in range(10)]
    rows = RunOutput.at(write_run(tmp_path / "run", units), Storage()).rows()
    parts = list(rows.parts(images=4 * 128))
    assert [len(part.files) for part in parts] == [4, 4, 2]
    keys = [image.image_key for part in parts for image in part.images()]
    assert keys == [image.image_key for image in rows.images()]


def test_an_address_may_hold_the_names_of_the_tables(tmp_path: Path):
    folder = tmp_path / "tables" / "images" / "run"
    output = RunOutput.at(write_run(folder, UNITS, as_tables=True), Storage())
    assert len(list(output.images())) == 3


def test_a_record_is_read_without_the_environment_and_without_the_old_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "settings.yaml"
    config.write_text("scales: [0.5, 1]\nmax_error_rate: 0.25\nmodel: posrefine_tiny\nweights: untrained\n")
    settings = load_settings(
        RunSettings, {"config": str(config), "input": "/in", "output": "/out", "flip": "false"}
    )
    fingerprint = Fingerprint.of(settings, NetworkIdentity("0", None, "official", 64), None)
    summary = ManifestSummary(digest="0", units=1, images=1, size_bytes=1)
    output = RunOutput.at(str(tmp_path / "out"), Storage())
    output.storage.put(output.tree.run, RunRecord.of(settings, fingerprint, summary, None).encode())

    config.unlink()
    for name, value in {
        "MAX_ERROR_RATE": "0.5",
        "SCALES": "3",
        "ACTORS": "7",
        "CONFIG": "/gone.yaml",
    }.items():
        monkeypatch.setenv(f"POSREFINE_{name}", value)

    found = output.require_record().run_settings()
    assert found == settings
    assert (found.scales, found.max_error_rate, found.flip, found.actors) == ((0.5, 1.0), 0.25, False, None)


def test_settings_of_another_version_are_refused_by_name(tmp_path: Path):
    settings = RunSettings(input="/in", output="/out", model="m", weights="w")
    fingerprint = Fingerprint.of(settings, NetworkIdentity("0", None, "official", 64), None)
    record = RunRecord.of(settings, fingerprint, ManifestSummary("0", 1, 1, 1), None)
    with pytest.raises(ConfigurationError, match="scales"):
        record.model_copy(update={"settings": record.settings | {"scales": "many"}}).run_settings()
