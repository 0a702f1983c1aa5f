"""The annotate job on real photographs, real storage and real processes that get killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from support.networks import noisy_network
from support.photos import (
    CUT_TARS,
    PHOTOS,
    assert_same_persons,
    read_photos,
    table,
    three_forms,
    write_photos,
)
from support.ray_cluster import kill_workers, started_cluster
from support.s3 import Bucket, S3Server
from support.shards import make_parquet, make_tar

from jobs.annotate import main
from pipeline.driver.drive import Drive
from pipeline.output.lock import RunLock
from pipeline.output.run_output import RunOutput
from pipeline.output.status import read_status
from pipeline.stages.quarantine import attempt, start_ledger
from pipeline.storage import Storage
from posrefine.inference.fast.device import Precision, choose_dtype
from posrefine.weights import save_weights

SCRIPT = Path(__file__).parents[2] / "jobs" / "annotate.py"

# Ray Data warns of its own defaults whenever its context is made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[str]:
    with started_cluster(s3_server.environment()) as address:
        yield address


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "noisy.safetensors"
    save_weights(noisy_network(), path)
    return str(path)


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    return read_photos()


@pytest.fixture
def settings(weights: str) -> list[str]:
    network = ["--model", "posrefine_tiny", "--weights", weights, "--input-size", "64"]
    return [*network, "--precision", "float32", "--unit-images", "12"]


def annotate(given: str, output: str, settings: list[str]) -> int:
    return main(["run", "--input", given, "--output", output, *settings])


def everything(folder: str) -> dict[str, tuple[int, str]]:
    return {found.uri: (found.size_bytes, found.etag) for found in Storage().list(folder)}


def test_every_photo_of_a_folder_is_in_the_tables_once_and_other_engines_read_them(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path
):
    given, output = write_photos(tmp_path / "photos", photos), str(tmp_path / "out")
    assert annotate(given, output, [*settings, "--table-units", "4"]) == 0

    images, persons = table(output, "images"), table(output, "persons")
    assert sorted(images["image_key"].to_pylist()) == sorted(photos)
    assert images["image_id"].to_pylist() == [int(Path(key).stem) for key in images["image_key"].to_pylist()]
    assert sum(images["person_count"].to_pylist()) == len(persons) > PHOTOS
    count, width = duckdb.sql(
        f"select count(*), max(len(keypoints)) from read_parquet('{output}/tables/persons/*.parquet')"
    ).fetchall()[0]
    assert (count, width) == (len(persons), 34)
    frame = polars.read_parquet(f"{output}/tables/persons/*.parquet")
    assert len(frame) == len(persons)
    assert frame["keypoint_scores"].list.len().unique().to_list() == [17]
    success = json.loads(Path(output, "tables", "_SUCCESS.json").read_text())
    assert (success["images"], success["ok"]) == (PHOTOS, PHOTOS)
    counted = sum(score >= success["min_score"] for score in persons["score"].to_pylist())
    assert (success["persons"], success["persons_below"]) == (counted, len(persons) - counted)
    assert [group["units"] for group in success["groups"]] == [4, 2]
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["images"], outcome["note"]) == (0, {"ok": PHOTOS}, None)
    status = read_status(RunOutput.at(output, Storage())).summary(datetime.now(UTC))
    for name in ("min_score", "persons", "persons_below", "images_per_s"):
        assert getattr(status, name) == outcome[name], name
    for name in ("min_score", "persons", "persons_below"):
        assert success[name] == outcome[name], name
    assert outcome["efficiency"] > 0
    assert 0 < outcome["stage_seconds"]["predictor"] <= outcome["stage_seconds"]["infer"]
    ((form, seconds),) = outcome["prepare_seconds"].items()
    assert form.startswith("cpu, ")
    assert seconds > 0


@pytest.mark.slow
def test_a_folder_tars_in_a_bucket_and_parquet_give_the_same_persons(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path, s3_bucket: Bucket
):
    inputs = three_forms(photos, tmp_path, s3_bucket)
    codes = [annotate(given, output, [*settings, *CUT_TARS]) for output, given in inputs.items()]

    assert codes == [0, 0, 0]
    assert_same_persons(list(inputs), photos)


def test_broken_files_cost_only_their_own_row_and_the_budget_decides_the_exit_code(
    cluster: str,
    photos: dict[str, bytes],
    settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    name, good = next(iter(photos.items()))
    files = {
        name: good,
        "cut.jpg": good[: len(good) // 2],
        "empty.jpg": b"",
        "noise.jpg": good[:600] + b"\x00" * 50 + os.urandom(2000) + b"\xff\xd9",
        "text.jpg": b"these are words, and no picture",
        "notes.txt": b"not even looked at",
        "._photo.jpg": good,
        "photo.seg.png": good,
        "cut.parquet": make_parquet({name: good})[:-9],
        "web.tar": make_tar({"a/0.jpg": good, "a/0.txt": b"a caption", "a/0.json": b"{}", "a/._0.jpg": b""}),
    }
    settings = [*settings, "--exclude", "*.seg.png"]
    given, output = write_photos(tmp_path / "photos", files), str(tmp_path / "out")
    skipped = {".json": 1, ".txt": 2, "<excluded>": 1, "<system>": 2}

    assert annotate(given, output, settings) == 3

    images = {row["image_key"]: row for row in table(output, "images").to_pylist()}
    assert {key: row["status"] for key, row in images.items()} == {
        name: "ok",
        "cut.jpg": "truncated",
        "empty.jpg": "truncated",
        "noise.jpg": "corrupt",
        "text.jpg": "unsupported",
        "cut.parquet#row_groups=": "corrupt",
        "a/0.jpg": "ok",
    }
    assert all(row["error"] for row in images.values() if row["status"] != "ok")
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["skipped"]) == (3, skipped)
    assert json.loads(Path(output, "tables/_SUCCESS.json").read_text())["skipped"] == skipped
    assert read_status(RunOutput.at(output, Storage())).skipped == skipped
    assert "1 .json, 2 .txt, 1 <excluded>, 2 <system>" in capsys.readouterr().out
    # A shard that could not be read has an unknown number of images: no budget covers it.
    assert annotate(given, output, [*settings, "--max-error-rate", "0.9"]) == 3
    assert annotate(given, output, [*settings, "--exclude", "cut.parquet"]) == 4


def test_failed_images_are_tried_again_repaired_or_with_other_limits_and_the_tables_follow(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path
):
    large, *others = sorted(photos.values(), key=len, reverse=True)[:4]
    names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "text.jpg"]
    files = dict(zip(names, [large, others[0][:5000], *others[1:], b"words"], strict=True))
    given, output = write_photos(tmp_path / "photos", files), str(tmp_path / "out")
    limits = ["--max-image-bytes", str(len(large) - 1)]

    def statuses() -> list[str]:
        images = table(output, "images").to_pylist()
        assert [row["image_key"] for row in images] == names
        return [row["status"] for row in images]

    quickly = ("--unit-images", "2", "--replaced-grace-s", "0")
    assert annotate(given, output, [*settings, *quickly, *limits]) == 3
    assert statuses() == ["too_large", "truncated", "ok", "ok", "unsupported"]
    before = everything(output)
    (tmp_path / "photos" / "1.jpg").write_bytes(others[0])

    assert main(["retry-failed", "--output", output, "--max-pixels", "100000000"]) == 3
    assert statuses() == ["too_large", "ok", "ok", "ok", "unsupported"]
    assert "1.jpg" in table(output, "persons")["image_key"].to_pylist()
    same = f"{output}/units/u00000001.parquet"
    assert everything(output)[same] == before[same]

    (tmp_path / "photos" / "text.jpg").write_bytes(others[1])
    assert main(["retry-failed", "--output", output, "--max-image-bytes", "100000000"]) == 0
    assert statuses() == ["ok"] * 5
    assert set(table(output, "persons")["image_key"].to_pylist()) == set(names)


def test_running_a_finished_run_again_changes_nothing_and_other_settings_are_refused(
    cluster: str,
    photos: dict[str, bytes],
    settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    given, output = write_photos(tmp_path / "photos", dict(list(photos.items())[:2])), str(tmp_path / "out")
    assert annotate(given, output, settings) == 0
    before = everything(output)
    capsys.readouterr()

    assert annotate(given, output, settings) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert main(["finalize", "--output", output]) == 0
    assert annotate(given, output, [*settings, "--no-flip", "--scales", "1,2"]) == 4
    message = capsys.readouterr().err
    assert "flip: True there, False now" in message
    assert "scales: (1.0,) there, (1.0, 2.0) now" in message
    lease = f"{output}/lock.json"
    assert everything(output) | {lease: before[lease]} == before


def test_the_faster_arithmetic_is_found_when_a_run_begins_and_kept_when_it_goes_on(
    cluster: str,
    photos: dict[str, bytes],
    settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    given, output = write_photos(tmp_path / "photos", dict(list(photos.items())[:2])), str(tmp_path / "out")
    automatic = [*settings, "--precision", "auto"]
    faster = "bfloat16" if choose_dtype(Precision.AUTO, torch.device("cpu")) is torch.bfloat16 else "float32"
    other = "float32" if faster == "bfloat16" else "bfloat16"
    with monkeypatch.context() as patch:
        patch.setattr(Drive, "annotate", interrupted)
        assert annotate(given, output, automatic) == 75
    record = json.loads(Path(output, "run.json").read_text())
    assert record["fingerprint"]["precision"] == record["settings"]["precision"] == faster

    # On a machine where the other one is the faster.
    monkeypatch.setattr("pipeline.driver.run.decide_precision", lambda _: Precision(other))
    assert annotate(given, output, automatic) == 0
    assert main(["replay", "--output", output, "--unit", "u00000000"]) == 0
    assert annotate(given, output, [*settings, "--precision", other]) == 4
    assert f"precision: '{faster}' there, '{other}' now" in capsys.readouterr().err


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_locked_output_is_left_alone(photos: dict[str, bytes], settings: list[str], tmp_path: Path):
    given, output = write_photos(tmp_path / "photos", dict(list(photos.items())[:1])), str(tmp_path / "out")
    with RunLock(Storage(), f"{output}/lock.json", 60):
        before = everything(output).keys()
        assert annotate(given, output, settings) == 5
        assert everything(output).keys() == before


def test_wrong_settings_end_with_code_2_and_say_so_in_the_outcome(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given, output = write_photos(tmp_path / "photos", {"a.jpg": b"words"}), str(tmp_path / "out")
    assert annotate(given, output, [*settings, "--unit-images", "none"]) == 2
    assert "unit_images: 'none'" in capsys.readouterr().err
    assert annotate(given, output, [*settings, "--model", "dekr_w99"]) == 2
    assert "dekr_w99" in json.loads(Path(output, "outcome.json").read_text())["message"]
    assert annotate(str(tmp_path / "nothing-here"), output, settings) == 2
    with pytest.raises(SystemExit) as caught:
        annotate(given, output, [*settings, "--unit-image", "1"])
    assert caught.value.code == 2


def start(given: str, output: str, settings: list[str], address: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "run", "--input", given, "--output", output, *settings]
    environment = os.environ | {"RAY_ADDRESS": address}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_units(output: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(Storage().list(f"{output}/units"))) < count:
        assert time.monotonic() < deadline, f"no {count} units after two minutes"
        time.sleep(0.02)


def test_a_run_whose_driver_is_killed_is_resumed_without_losing_or_doubling_an_image(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path
):
    settings = [*settings, "--unit-images", "3"]
    given, output = write_photos(tmp_path / "photos", photos), str(tmp_path / "out")
    with start(given, output, settings, cluster) as driver:
        wait_for_units(output, 2)
        driver.kill()
    before = {uri: seen for uri, seen in everything(output).items() if "/units/" in uri}
    assert 2 <= len(before) < 23

    assert annotate(given, output, settings) == 0

    after = everything(output)
    assert {uri: after[uri] for uri in before} == before
    keys = table(output, "images")["image_key"].to_pylist()
    assert sorted(keys) == sorted(photos)


@pytest.mark.slow
def test_a_terminated_run_says_interrupted_and_keeps_what_is_finished(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path
):
    given, output = write_photos(tmp_path / "photos", photos), str(tmp_path / "out")
    with start(given, output, [*settings, "--unit-images", "2"], cluster) as driver:
        wait_for_units(output, 2)
        driver.terminate()
        said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, said
    assert ".cc:" not in said  # Ray's own lines are not ours
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["result"], outcome["complete"]) == (75, "interrupted", False)
    assert RunOutput.at(output, Storage()).lease() is None


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_cost_no_image(
    cluster: str, photos: dict[str, bytes], settings: list[str], tmp_path: Path
):
    given, output = write_photos(tmp_path / "photos", photos), str(tmp_path / "out")
    killed, over = [0], threading.Event()

    def kill() -> None:
        while killed[0] < 4 and not over.wait(0.3):
            killed[0] += kill_workers("ray::MapWorker(MapBatches(InferenceActor))") if units_done() else 0
            over.wait(2)

    def units_done() -> int:
        return len(list(Storage().list(f"{output}/units")))

    killer = threading.Thread(target=kill)
    killer.start()
    code = annotate(given, output, [*settings, "--unit-images", "2"])
    over.set()
    killer.join()

    assert killed[0] >= 1
    assert code == 0
    assert sorted(table(output, "images")["image_key"].to_pylist()) == sorted(photos)


def test_status_plan_and_replay_look_without_touching(
    cluster: str,
    photos: dict[str, bytes],
    settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    files = dict(list(photos.items())[:3]) | {"text.jpg": b"words"}
    given, output = write_photos(tmp_path / "photos", files), str(tmp_path / "out")
    plan = ["plan", "--input", given, "--output", output, *settings]
    assert main([*plan, "--images-per-second", "0.001", "--price-per-device-hour", "3"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"images +4\n", said)
    assert re.search(r"time +1\.11 device hours", said)
    assert re.search(r"cost +3\.33", said)
    assert not Path(output).exists()
    assert main(["status", "--output", output]) == 2

    assert annotate(given, output, settings) == 3
    before = everything(output)
    capsys.readouterr()
    assert main(["status", "--output", output]) == 0
    said = capsys.readouterr().out
    assert re.search(r"units +1 of 1 done", said)
    assert re.search(r"images +3 ok, 1 failed\nfailed +1 unsupported", said)
    saved = tmp_path / "rows.parquet"
    assert main(["replay", "--output", output, "--unit", "u00000000", "--save", str(saved)]) == 0
    assert "text.jpg  size unknown  unsupported: " in capsys.readouterr().out
    rows = pq.read_table(saved, use_threads=False)
    unit = pq.read_table(Path(output, "units", "u00000000.parquet"), use_threads=False)
    assert rows["image_key"].equals(unit["image_key"])
    assert rows["status"].equals(unit["status"])
    assert (
        rows["persons"].combine_chunks().value_lengths() == unit["persons"].combine_chunks().value_lengths()
    )
    assert everything(output) == before


def test_the_image_that_kills_its_workers_is_found_and_its_neighbours_finish(cluster: str):
    images = ["before", "killer", "between", "other killer", "after"]
    ledger = start_ledger()

    def work(_: pa.Table) -> pa.Table:
        finished = []
        with attempt(ledger, "inference", "u") as opened:
            this = opened.this
            for image in images:
                if image in this.quarantined:
                    continue
                if this.isolated:
                    opened.touch(image)
                if "killer" in image:
                    os.abort()
                finished.append(image)
        return pa.table({"image": finished, "attempts": [this.number] * len(finished)})

    rows = ray.data.from_items([1]).map_batches(work, batch_format="pyarrow").take_all()

    assert [row["image"] for row in rows] == ["before", "between", "after"]
    # Three deaths of the whole unit, then two of each killer alone.
    assert rows[0]["attempts"] == 8


def test_what_stops_a_worker_stops_the_run_with_its_own_message_and_code(
    cluster: str,
    photos: dict[str, bytes],
    settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.parquet").write_bytes(make_parquet(dict(list(photos.items())[:2])))
    output = str(tmp_path / "out")
    assert annotate(str(tmp_path / "shards"), output, [*settings, "--key-column", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["complete"]) == (2, False)
    assert "nobody" in outcome["message"]
    assert RunOutput.at(output, Storage()).lease() is None
