"""The train job on rendered scenes, on one Ray cluster, with processes that get killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.event_files import scalars
from support.ray_cluster import started_cluster
from support.s3 import Bucket, S3Server

from jobs.pack import main as pack
from jobs.train import main
from pipeline.settings.sources import load_settings
from pipeline.settings.training import TrainSettings
from pipeline.storage import Storage
from pipeline.training.record import begin_or_resume
from posrefine.build import build_model
from posrefine.training.checkpoint import load_checkpoint
from posrefine.weights import load_weights, save_weights

REPOSITORY = Path(__file__).resolve().parents[2]
DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 ")
SMALL = [
    "--model", "posrefine_tiny", "--input-sizes", "64", "--batch-size", "2", "--epochs", "2",
    "--worker-cpus", "0.5", "--checkpoint-steps", "2", "--log-steps", "1", "--validation-steps", "4",
    "--max-failures", "0",
]  # fmt: skip

# Ray's own use of its settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[str]:
    with started_cluster(s3_server.environment()) as address:
        yield address


@pytest.fixture(scope="module")
def packed(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    assert pack(["--output", str(folder), "--synthetic", "4", "--scenes", "easy", "--shard-images", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def from_shards(packed: Path) -> list[str]:
    return ["--images", str(packed / "shards"), "--annotations", str(packed / "annotations.json")]


@pytest.fixture(scope="module")
def trained(from_shards: list[str], packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    held_out = ["--val-images", str(packed / "shards"), "--val-annotations", str(packed / "annotations.json")]
    code = main([*SMALL, *from_shards, *held_out, "--output", str(output), "--licence", "CC0-1.0"])
    assert code == 0
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def newest_checkpoint(output: Path) -> Path:
    return max(output.glob("ray_train/checkpoint_*/checkpoint.pt"), key=lambda path: path.stat().st_mtime)


def begun_training(settings: list[str], output: str, cluster: str) -> subprocess.Popen[str]:
    """A training in a process of its own that has made its first checkpoint."""
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "jobs/train.py", *settings, "--output", output],
        env=os.environ | {"RAY_ADDRESS": cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline_s = time.monotonic() + 300
    while not any(found.uri.endswith("/checkpoint.pt") for found in Storage().list(f"{output}/ray_train")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return process


def test_training_leaves_the_averaged_weights_a_card_and_a_log(trained: Path):
    model = build_model("posrefine_tiny")
    info = load_weights(model, trained / "model.safetensors")
    state = load_checkpoint(newest_checkpoint(trained))
    assert (info.licence, info.skeleton, state["step"]) == ("CC0-1.0", "coco", 4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state["average"][name], rtol=0, atol=0)
    card = (trained / "model_card.md").read_text()
    for words in (info.sha256, "4 images of", "| AP |", "| batch_size | 2 |", "CC0-1.0", "jobs/train.py"):
        assert words in card
    steps = rows(trained / "log/steps.csv")
    assert [row["step"] for row in steps] == ["0", "1", "2", "3"]
    assert all(float(row["loss"]) > 0 for row in steps)
    assert [row["step"] for row in rows(trained / "log/validation.csv")] == ["4"]
    curve = scalars(trained / "log/tensorboard", "train/loss")
    assert curve == [(int(row["step"]), pytest.approx(float(row["loss"]), rel=1e-5)) for row in steps]


def test_photographs_and_scenes_are_learnt_together_and_the_best_weights_are_kept(
    packed: Path, tmp_path: Path, capsys
):
    """Of the four packed images one is kept apart by its name; scenes are validated on beside it."""
    first = json.loads((packed / "annotations.json").read_text())["images"][0]["file_name"]
    (tmp_path / "apart.txt").write_text(f"{first}\n")
    mixed = [
        *SMALL, "--images", str(packed / "shards"), "--annotations", str(packed / "annotations.json"),
        "--image-shares", "0.75", "--synthetic", "2", "--synthetic-shares", "0.25", "--views", "12",
        "--val-names", str(tmp_path / "apart.txt"), "--val-scenes", "2", "--val-flip", "--publish", "best",
        "--colour", "1", "--degrade", "0.5", "--paste", "1", "--person-probability", "1",
        "--validation-steps", "2", "--note", "learnt from three images and two scenes",
    ]  # fmt: skip
    output = tmp_path / "out"
    assert main([*mixed, "--output", str(output)]) == 0
    validated = rows(output / "log/validation.csv")
    assert [row["step"] for row in validated] == ["2", "4", "6"]
    said = capsys.readouterr().err
    assert "6 steps of 2 views, 1 training process, from" in said
    assert re.search(r"100% · 6 of 6 steps · [\d.]+ views/s · loss [\d.]+ · 0:00:00 left · AP -?\d", said)
    assert {"AP", "scenes_AP"} <= validated[0].keys()
    best = load_checkpoint(newest_checkpoint(output))["best"]
    assert best["AP"] == pytest.approx(max(float(row["AP"]) for row in validated), rel=1e-5)
    published, kept = build_model("posrefine_tiny"), build_model("posrefine_tiny")
    info = load_weights(published, output / "model.safetensors")
    load_weights(kept, output / "best.safetensors")
    for name, value in published.state_dict().items():
        torch.testing.assert_close(value, best["average"][name], rtol=0, atol=0)
        torch.testing.assert_close(value, kept.state_dict()[name], rtol=0, atol=0)
    assert info.note == "learnt from three images and two scenes"
    card = (output / "model_card.md").read_text()
    for words in ("3 images of", "(75%); 2 rendered scenes (25%)", "photographs: 1; scenes: 2", info.note):
        assert words in card


def test_a_finished_training_is_published_again_without_training(trained: Path, from_shards, packed):
    before, checkpoint = (trained / "model.safetensors").read_bytes(), newest_checkpoint(trained)
    held_out = ["--val-images", str(packed / "shards"), "--val-annotations", str(packed / "annotations.json")]
    assert main([*SMALL, *from_shards, *held_out, "--output", str(trained), "--licence", "CC0-1.0"]) == 0
    assert (trained / "model.safetensors").read_bytes() == before
    assert newest_checkpoint(trained) == checkpoint


def test_other_settings_on_the_same_output_are_refused_before_ray_is_asked_for_anything(
    tmp_path: Path, capsys, monkeypatch
):
    scenes = {"output": str(tmp_path), "synthetic": 4, "model": "posrefine_tiny"}
    begin_or_resume(load_settings(TrainSettings, scenes), {"images_of_sources": [4]}, Storage())
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    arguments = ["--output", str(tmp_path), "--synthetic", "4", "--model", "posrefine_tiny"]
    assert main([*arguments, "--learning-rate", "0.5", "--colour", "1"]) == 4
    said = capsys.readouterr().err
    for words in ("FingerprintMismatch (exit code 4)", "learning_rate: 0.001 there, 0.5 now", "colour: 0.0"):
        assert words in said


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_killed_training_goes_on_and_ends_with_the_weights_of_one_that_was_not(
    cluster: str, packed: Path, tmp_path: Path, s3_bucket: Bucket, place: str
):
    data, output = str(packed), str(tmp_path)
    if place == "bucket":
        data, output = f"{s3_bucket.uri}/data", s3_bucket.uri
        for path in packed.rglob("*.*"):
            s3_bucket.write(f"data/{path.relative_to(packed)}", path.read_bytes())
    images = ["--images", f"{data}/shards", "--annotations", f"{data}/annotations.json"]
    settings, whole, killed = [*SMALL, "--epochs", "4", *images], f"{output}/whole", f"{output}/killed"
    assert main([*settings, "--output", whole]) == 0
    process = begun_training(settings, killed, cluster)
    process.kill()
    process.communicate()
    storage, weights = Storage(), "model.safetensors"
    assert not storage.exists(f"{killed}/{weights}")
    assert main([*settings, "--output", killed]) == 0
    steps = csv.DictReader(storage.read_bytes(f"{killed}/log/steps.csv").decode().splitlines())
    assert [row["step"] for row in steps] == [str(step) for step in range(8)]
    assert storage.read_bytes(f"{killed}/{weights}") == storage.read_bytes(f"{whole}/{weights}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_ends_with_code_75_and_says_how_to_go_on(
    cluster: str, from_shards: list[str], tmp_path: Path, number: signal.Signals
):
    process = begun_training([*SMALL, "--epochs", "2000", *from_shards], str(tmp_path), cluster)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    *progress, last = said.splitlines()
    assert last == "interrupted (exit code 75): run again to go on from the last checkpoint"
    assert progress, said
    assert all(DATED.match(line) for line in progress), said


@pytest.mark.slow
def test_two_processes_train_one_network(from_shards: list[str], tmp_path: Path):
    code = main([*SMALL, *from_shards, "--output", str(tmp_path), "--workers", "2", "--worker-cpus", "0.25"])
    assert code == 0
    assert load_checkpoint(newest_checkpoint(tmp_path))["step"] == 4


def test_training_starts_from_the_weights_it_is_given(
    from_shards: list[str], tmp_path: Path, s3_bucket: Bucket
):
    torch.manual_seed(5)
    start = build_model("posrefine_tiny")
    save_weights(start, tmp_path / "start.safetensors", {"skeleton": "coco"})
    weights = s3_bucket.write("start.safetensors", (tmp_path / "start.safetensors").read_bytes())
    code = main([
        *SMALL, *from_shards, "--output", str(tmp_path / "out"), "--epochs", "1",
        "--weights", weights, "--learning-rate", "1e-12",
    ])  # fmt: skip
    assert code == 0
    ended = build_model("posrefine_tiny")
    load_weights(ended, tmp_path / "out/model.safetensors")
    parameters = dict(ended.named_parameters())
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(parameters[name], parameter, rtol=0, atol=1e-8)


def test_a_loss_that_is_not_finite_ends_with_code_1_and_advice(from_shards, tmp_path: Path, capsys):
    code = main([*SMALL, *from_shards, "--output", str(tmp_path), "--learning-rate", "1e30"])
    assert code == 1
    assert "lower learning rate" in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()


def test_nothing_but_broken_images_ends_with_code_1_and_their_reason(packed: Path, tmp_path: Path, capsys):
    for image in json.loads((packed / "annotations.json").read_text())["images"]:
        (tmp_path / image["file_name"]).write_bytes(b"text")
    labels = ["--annotations", str(packed / "annotations.json")]
    assert main([*SMALL, "--images", str(tmp_path), *labels, "--output", str(tmp_path / "out")]) == 1
    assert "20 images in a row cannot be used" in capsys.readouterr().err


def test_more_processes_than_cpus_are_refused(from_shards, tmp_path: Path, capsys):
    code = main([*SMALL, *from_shards, "--output", str(tmp_path), "--workers", "2", "--worker-cpus", "1"])
    assert code == 2
    assert "must be left for preparing views" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --images with --annotations, or --synthetic, or both"),
        (["--images", "photos"], "--images and --annotations belong together"),
        (["--synthetic", "3", "--model", "resnet"], "no network is called 'resnet'"),
        (["--synthetic", "3", "--batch-size", "none"], "setting batch_size"),
        (["--synthetic", "3", "--input-sizes", "0:100"], "input size 100 px"),
        (["--synthetic", "3", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_settings_that_do_not_fit_end_with_code_2(tmp_path: Path, capsys, arguments, words):
    assert main(["--output", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_settings_come_from_a_file_and_the_command_line_wins(tmp_path: Path, capsys):
    (tmp_path / "train.yaml").write_text("synthetic: 3\nlearning_rat: 0.1\nbatch_size: 2\n")
    assert (
        main(["--config", str(tmp_path / "train.yaml"), "--output", str(tmp_path), "--batch-size", "0"]) == 2
    )
    errors = capsys.readouterr().err
    assert "setting learning_rat" in errors
    assert "setting batch_size: '0' will not do: Input should be greater than or equal to 1" in errors
