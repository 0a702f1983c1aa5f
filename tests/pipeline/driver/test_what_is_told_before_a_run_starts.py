"""An input that cannot be used is told before weights are fetched and Ray starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.driver.run import run
from pipeline.model.network import Network
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, StorageError


def no_network(settings: RunSettings, storage: Storage) -> Network:
    raise AssertionError("the network was loaded")


def settings_of(given: str, output: Path) -> RunSettings:
    return RunSettings(input=given, output=str(output), model="posrefine_tiny", weights="untrained")


def test_an_empty_input_is(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"nothing to read.*1 \.txt"):
        run(settings_of(str(tmp_path / "in"), tmp_path / "out"), no_network)
    outcome = json.loads((tmp_path / "out/outcome.json").read_text())
    assert (outcome["exit_code"], outcome["complete"]) == (2, False)


def test_a_folder_that_is_not_there_is(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"/in: there is no such file or folder; check the address"):
        run(settings_of(str(tmp_path / "in"), tmp_path / "out"), no_network)


def test_a_wrong_bucket_is(tmp_path: Path, s3_bucket):
    with pytest.raises(StorageError, match="no such bucket"):
        run(settings_of(f"{s3_bucket.uri}-misspelt/in", tmp_path / "out"), no_network)


@pytest.mark.parametrize(
    "inside", ["units/mine", "tables/images", "units/deep/er", "generations/g0002", "review/queues"]
)
def test_an_output_inside_the_output_of_another_run_is(tmp_path: Path, inside: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"words")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"lies inside .*/out.*choose another --output"):
        run(settings_of(str(tmp_path / "in"), tmp_path / "out" / inside), no_network)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]
