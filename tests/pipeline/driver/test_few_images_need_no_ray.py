"""For a handful of images no Ray is started, and an image that ends a process ends no driver."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from support.annotation import (
    SETTINGS,
    annotate,
    require_same_tables,
    some_images,
    start_driver,
    table,
    write_images,
)
from support.bad_decoders import BadDecoder, image_that
from support.images import encode, gradient
from support.shards import make_parquet

from jobs.annotate import main
from pipeline.driver import retry
from pipeline.driver.few_images import FewImages, are_few
from pipeline.driver.sync_gauges import SyncGauges
from pipeline.ground_truth.image_names import NumericNames
from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.manifest import Manifest, write_manifest
from pipeline.inputs.readers import read_options
from pipeline.inputs.units import LoadedImage, Unit, UnitKind
from pipeline.model.network import Network, load_network
from pipeline.output.finalize import finalize
from pipeline.output.outcome import Outcome
from pipeline.output.parquet import decode_table
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult, unit_table
from pipeline.output.unit_footer import encode_unit
from pipeline.output.writer import OutputWriter, writing
from pipeline.settings.run import RunSettings
from pipeline.stages.tasks import StageContext
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, OutputLocked

# Ray Data warns of its own defaults whenever its context is made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

STORAGE = Storage()
NAMES = ("1.png", "2.png", "3.png")
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Failed:
    """A finished run of three images, of which the last two failed, and have been repaired since."""

    settings: RunSettings
    network: Network
    record: RunRecord
    manifest: Manifest
    output: RunOutput

    def context(self, writer: OutputWriter, **changes: object) -> StageContext:
        return StageContext(
            settings=self.settings.model_copy(update=changes),
            manifest=self.manifest,
            reading=read_options(self.settings, self.network.identity.input_size),
            output=self.output,
            witness=writer.lock.witness,
            generation=writer.lock.generation,
            again=True,
            metadata=self.record.table_metadata().encode(),
        )

    def statuses(self) -> dict[str, str]:
        rows = [decode_table(STORAGE.read_bytes(file.uri)) for file in self.output.unit_files()]
        return {row["image_key"]: row["status"] for table in rows for row in table.to_pylist()}


@pytest.fixture(scope="module")
def network() -> Network:
    wanted = {"input": "/in", "output": "/out", "model": "posrefine_tiny", "weights": "posrefine:tiny_coco"}
    return load_network(RunSettings(**wanted, precision="float32"), STORAGE)


@pytest.fixture
def failed(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> Failed:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    given, output = tmp_path / "in", RunOutput.at(str(tmp_path / "out"), STORAGE)
    given.mkdir()
    for name in NAMES:
        (given / name).write_bytes(encode(gradient(64, 48)))
    settings = RunSettings(
        input=str(given), output=output.uri, model="posrefine_tiny", weights="posrefine:tiny_coco",
        unit_images=2, precision="float32", device="cpu", max_error_rate=0.0, replaced_grace_s=0,
    )  # fmt: skip
    manifest = write_manifest(str(given), str(tmp_path / "m.parquet"), STORAGE, CutOptions(unit_images=2))
    STORAGE.put(output.tree.manifest(manifest.summary.digest), (tmp_path / "m.parquet").read_bytes())
    record = RunRecord.of(settings, Fingerprint.of(settings, network.identity, None), manifest.summary, None)
    STORAGE.put(output.tree.run, record.encode())
    for unit in manifest.units():
        images = [LoadedImage(entry.key, entry.uri, ImageStatus.OK) for entry in unit.objects]
        rows = unit_table(unit.unit_id, [_row(image) for image in images])
        metadata = record.table_metadata().encode()
        data = encode_unit(rows, metadata, min_score=record.min_score, committed_at=WHEN)
        STORAGE.put(output.tree.unit(unit.unit_id), data)
    with writing(output, 60) as writer:
        finalize(writer, record, manifest)
    return Failed(settings, network, record, manifest, output)


def _row(image: LoadedImage) -> ImageResult:
    failed = image if image.image_key == NAMES[0] else image.failed(ImageStatus.TRUNCATED, "it was cut")
    return ImageResult(failed.image_key, None, failed.uri, None, None, 1, None, failed.status, failed.error)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))


def test_a_run_and_a_sync_of_few_images_start_no_ray(
    without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    images = some_images(6)
    given, output = write_images(tmp_path / "in", images), str(tmp_path / "out")

    with caplog.at_level(logging.INFO):
        assert annotate(given, output, "--precision", "auto") == 0
        Path(given, "new.png").write_bytes(encode(gradient(64, 48)))
        assert main(["sync", "--input", given, "--output", output, *SETTINGS, "--precision", "auto"]) == 0

    assert table(output, "images")["image_key"].to_pylist() == [*images, "new.png"]
    found = RunOutput.at(output, STORAGE)
    record, counts, outcome = found.record(), found.counts(), found.outcome()
    assert record is not None
    assert record.fingerprint.precision in ("float32", "bfloat16")
    assert counts is not None
    assert (counts.images, counts.ok, counts.generation) == (7, 6, 2)
    assert isinstance(outcome, Outcome)
    assert outcome.exit_code == 0
    assert "3 of 3 units to do, 6 images known from listing; without Ray" in caplog.text


def test_the_first_sync_tells_how_it_stands_as_later_ones_do(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[int] = []
    monkeypatch.setattr(SyncGauges, "up_to_date", lambda _, tables: told.append(tables.images))
    given = write_images(tmp_path / "in", some_images(3))
    assert main(["sync", "--input", given, "--output", str(tmp_path / "out"), *SETTINGS]) == 0
    assert told == [3]


@pytest.mark.parametrize(
    ("listed", "given", "both"),
    [
        (["1.png"], ["x/1.png", "y/1.png"], "images x/1.png and y/1.png: which of them is image 7"),
        (["a/1.png", "b/1.png"], ["1.png"], "image 1.png: is it a/1.png (id 7) or b/1.png (id 8)"),
    ],
)
def test_images_of_which_nobody_can_say_which_annotated_one_they_are_are_refused_before_a_run_begins(
    without_ray: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    listed: list[str],
    given: list[str],
    both: str,
):
    images = [{"id": 7 + number, "file_name": name} for number, name in enumerate(listed)]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    for name in given:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encode(gradient(64, 48)))
    output = tmp_path / "out"
    assert annotate(str(tmp_path / "in"), str(output), "--annotations", str(tmp_path / "a.json")) == 2
    assert both in capsys.readouterr().err
    assert not (output / "run.json").exists()
    assert not (output / "units").exists()


def test_what_is_said_beside_the_driver_is_said_by_the_driver(
    without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    images = [{"id": number, "file_name": name} for number, name in enumerate(("a/1.png", "b/1.png"))]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    (tmp_path / "in").mkdir()
    shard = make_parquet({"1.png": encode(gradient(64, 48)), "2.png": encode(gradient(48, 64))})
    (tmp_path / "in" / "shard.parquet").write_bytes(shard)
    given, output = str(tmp_path / "in"), str(tmp_path / "out")
    assert annotate(given, output, "--annotations", str(tmp_path / "a.json")) == 0
    assert table(output, "images")["image_id"].to_pylist() == [None, None]
    (warning,) = [record for record in caplog.records if "it gets no image id" in record.getMessage()]
    assert "is it a/1.png (id 0) or b/1.png (id 1) of the annotations?" in warning.getMessage()
    assert warning.process != os.getpid()


def test_without_ray_the_tables_are_those_of_a_run_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = write_images(tmp_path / "in", some_images(6))
    alone, on_ray = str(tmp_path / "alone"), str(tmp_path / "on_ray")
    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
        assert annotate(given, alone) == 0
    # Who says how many actors there are to be wants Ray.
    assert annotate(given, on_ray, "--actors", "1") == 0

    require_same_tables(alone, on_ray)
    assert len(table(alone, "persons")) > 0


@contextmanager
def slow_run(given: str, output: str) -> Iterator[subprocess.Popen[str]]:
    """A run without Ray of slow units, once it has committed the first of them."""
    job = str(Path(__file__).parents[3] / "jobs" / "annotate.py")
    command = [
        sys.executable,
        job,
        "run",
        "--input",
        given,
        "--output",
        output,
        *SETTINGS,
        "--unit-images",
        "1",
    ]
    slowly = ("--input-size", "512", "--scales", "1,2,4", "--table-units", "3")
    with subprocess.Popen(
        [*command, *slowly], env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        until = time.monotonic() + 120
        while not list(Path(output).glob("units/*.parquet")):
            assert driver.poll() is None
            assert time.monotonic() < until, "no unit after two minutes"
            time.sleep(0.05)
        yield driver


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_without_ray_that_is_stopped_ends_soon_with_its_process_and_is_continued(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    images = {f"{index}.png": encode(gradient(64, 64)) for index in range(8)}
    given, output = write_images(tmp_path / "in", images), str(tmp_path / "out")
    with slow_run(given, output) as driver:
        beside = psutil.Process(driver.pid).children(recursive=True)
        assert beside, "nobody works beside the driver"
        stopped_at = time.monotonic()
        driver.send_signal(number)
        said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, said
    assert "Traceback" not in said, said
    assert "finished units are kept, run again" in said
    alive = psutil.wait_procs(beside, timeout=20)[1]
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    done = len(list(Path(output).glob("units/*.parquet")))
    assert 1 <= done < 8, f"{done} units, {time.monotonic() - stopped_at:.1f} s after the signal"


def test_a_run_without_ray_whose_driver_is_killed_leaves_nobody_and_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    images = some_images(8)
    given, output = write_images(tmp_path / "in", images), str(tmp_path / "out")
    with start_driver(given, output, "", dies="receipt:2") as driver:
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == -signal.SIGKILL, said
    assert "without Ray" in said
    kept = {path.name: path.stat().st_mtime_ns for path in Path(output).glob("units/*.parquet")}
    assert len(kept) >= 2

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
        assert annotate(given, output, "--lock-expiry-s", "3") == 0

    assert table(output, "images")["image_key"].to_pylist() == list(images)
    now = {path.name: path.stat().st_mtime_ns for path in Path(output).glob("units/*.parquet")}
    assert kept.items() <= now.items()


def test_few_images_are_annotated_without_ray_and_the_tables_follow(
    failed: Failed, without_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    look, seen = retry._units_with_failures, []

    def look_and_tell(output: RunOutput, *given: Any) -> dict[int, list[str]]:
        outcome = output.outcome()
        seen.append(outcome is not None and outcome.complete)
        return look(output, *given)

    monkeypatch.setattr(retry, "_units_with_failures", look_and_tell)
    assert failed.statuses() == {"1.png": "ok", "2.png": "truncated", "3.png": "truncated"}

    assert main(["retry-failed", "--output", failed.output.uri, "--device", "cpu"]) == 0, capsys.readouterr()

    assert failed.statuses() == dict.fromkeys(NAMES, "ok")
    rows = {image.image_key: image for image in failed.output.images()}
    assert [rows[name].width for name in NAMES] == [None, 64, 64]
    counts, outcome = failed.output.counts(), failed.output.outcome()
    assert counts is not None
    assert isinstance(outcome, Outcome)
    assert (counts.ok, outcome.complete, outcome.exit_code) == (3, True, 0)
    assert seen == [False], "it said complete while what is to be done was not known yet"


@pytest.mark.parametrize("way", ["crash", "exit", "kill", "no memory"])
def test_whatever_ends_the_process_blames_nobody_there_and_leaves_the_rest_to_ray(
    failed: Failed, caplog: pytest.LogCaptureFixture, way: str
):
    Path(failed.settings.input, NAMES[2]).write_bytes(image_that(way))
    with writing(failed.output, 60) as writer, caplog.at_level(logging.WARNING):
        given = FewImages(failed.context(writer), failed.network, BadDecoder())  # type: ignore[arg-type]
        done = [receipt.unit_id for receipt in given.receipts_of(failed.manifest.unit_ids())]
    assert done == list(failed.manifest.unit_ids())[:1]
    assert "has ended: by an image, or killed from outside" in caplog.text
    assert failed.statuses() == {"1.png": "ok", "2.png": "ok", "3.png": "truncated"}


def test_an_image_that_runs_out_of_time_ends_its_process_alone_and_leaves_the_rest_to_ray(
    failed: Failed, caplog: pytest.LogCaptureFixture
):
    large = Path(failed.settings.input, NAMES[1])
    large.write_bytes(encode(gradient(4000, 3000)))
    with writing(failed.output, 60) as writer, caplog.at_level(logging.WARNING):
        given = FewImages(failed.context(writer, image_timeout_s=1e-3), failed.network, NumericNames())
        assert list(given.receipts_of(failed.manifest.unit_ids())) == []
    assert "has ended: by an image, or killed from outside" in caplog.text
    assert failed.statuses() == {"1.png": "ok", "2.png": "truncated", "3.png": "truncated"}


def test_a_process_whose_driver_lost_the_lease_writes_nothing_and_says_so(failed: Failed):
    with writing(failed.output, 60) as writer:
        context = failed.context(writer)
        lost = replace(context, witness=replace(context.witness, owner="somebody else"))
        with pytest.raises(OutputLocked, match="lost to another run"):
            list(FewImages(lost, failed.network, NumericNames()).receipts_of(failed.manifest.unit_ids()))
    assert failed.statuses()["2.png"] == "truncated"


def test_many_images_and_a_cluster_that_is_there_are_rays(failed: Failed, monkeypatch: pytest.MonkeyPatch):
    units = failed.manifest.unit_ids()
    with writing(failed.output, 60) as writer:
        again = failed.context(writer)
        for context in (again, replace(again, again=False)):
            few = FewImages(context, failed.network, NumericNames())
            assert few.worth_no_ray(units)
            assert not few.worth_no_ray(units * 5)
            with monkeypatch.context() as patch:
                patch.setattr("pipeline.driver.few_images._FEW_IMAGES", 1)
                assert not few.worth_no_ray(units)
            with monkeypatch.context() as patch:
                patch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
                assert not few.worth_no_ray(units)


@pytest.mark.parametrize("asked", [{"actors": 2}, {"max_actors": 2}, {"num_cpus_per_actor": 1}])
def test_who_asks_for_actors_gets_them(failed: Failed, asked: dict[str, int]):
    with writing(failed.output, 60) as writer:
        few = FewImages(failed.context(writer, **asked), failed.network, NumericNames())
        assert not few.worth_no_ray(failed.manifest.unit_ids())


def test_units_of_tars_are_rays_for_nobody_knows_how_many_images_they_hold():
    assert are_few([_unit(3), _unit(4)])
    assert not are_few([_unit(3), _unit(None)])
    assert not are_few([_unit(60), _unit(5)])
    assert not are_few([_unit(1)] * 9)


def _unit(images: int | None) -> Unit:
    return Unit("u00000000", UnitKind.TAR if images is None else UnitKind.OBJECTS, "/in", 0, images)
