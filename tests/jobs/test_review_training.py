"""From photographs to a network trained on corrected ones, by the commands that docs/review.md names."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.networks import noisy_network
from support.photos import read_photos, write_photos
from support.ray_cluster import started_cluster
from support.s3 import S3Server

from jobs.annotate import main as annotate
from jobs.evaluate import main as evaluate
from jobs.pack import main as pack
from jobs.review import main as review
from jobs.train import main as train
from posrefine.build import build_model
from posrefine.weights import load_weights, save_weights

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

PHOTOGRAPHS, QUEUED = 12, 8
SMALL = [
    "--model", "posrefine_tiny", "--input-sizes", "64", "--batch-size", "2", "--epochs", "1",
    "--worker-cpus", "0.5", "--log-steps", "1", "--max-failures", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[str]:
    with started_cluster(s3_server.environment()) as address:
        yield address


def corrected(archive: Path, to: Path) -> None:
    """The task's file with one person an image, drawn by a reviewer from head to foot."""
    with zipfile.ZipFile(archive) as opened:
        content = json.loads(opened.read(opened.namelist()[0]))
    rng = np.random.default_rng(3)
    people: list[dict[str, Any]] = []
    for image in content["images"]:
        points = 0.25 + 0.5 * rng.random((17, 2))
        flat = np.hstack([points * (image["width"], image["height"]), np.full((17, 1), 2)]).round(2)
        people.append(
            {"id": len(people) + 1, "image_id": image["id"], "category_id": 1, "iscrowd": 0}
            | {"keypoints": flat.reshape(-1).tolist(), "attributes": {}}
        )
    to.write_text(json.dumps(content | {"annotations": people}))


def test_photographs_are_annotated_corrected_packed_and_learnt_from(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    photos = write_photos(tmp_path / "in", dict(list(read_photos().items())[:PHOTOGRAPHS]))
    save_weights(noisy_network(), tmp_path / "noisy.safetensors")
    output, truth = ["--output", str(tmp_path / "out")], str(tmp_path / "truth.json")
    network = ["--model", "posrefine_tiny", "--weights", str(tmp_path / "noisy.safetensors")]
    size = ["--input-size", "64", "--precision", "float32"]
    assert annotate(["run", "--input", photos, *output, *network, *size]) == 0

    assert review(["select", *output, "--budget", str(QUEUED)]) == 0
    tasks = tmp_path / "tasks"
    assert review(["export", *output, "--tool", "coco", "--to", str(tasks), "--reviewers", "ann"]) == 0
    corrected(tasks / "ann.zip", tmp_path / "ann.json")
    capsys.readouterr()
    assert review(["import", str(tmp_path / "ann.json"), *output]) == 0
    assert f"{QUEUED} reviewed" in capsys.readouterr().out
    assert review(["ground-truth", *output, "--to", truth]) == 0

    scored = ["--predictions", output[1], "--source", "model", "--protocol", "coco"]
    assert evaluate([*scored, "--annotations", truth, "--output", str(tmp_path / "scored")]) == 0
    labelled = ["--images", photos, "--annotations", truth]
    packed = tmp_path / "packed"
    assert pack(["--output", str(packed), *labelled]) == 0
    assert f"packed {QUEUED} images with {QUEUED} persons" in capsys.readouterr().out
    shards = ["--images", str(packed / "shards"), "--annotations", str(packed / "annotations.json")]
    for name, given in {"from photographs": labelled, "from shards": shards}.items():
        trained = tmp_path / name
        assert train([*SMALL, *given, "--output", str(trained)]) == 0
        load_weights(build_model("posrefine_tiny"), trained / "model.safetensors")
        assert f"{QUEUED} images of" in (trained / "model_card.md").read_text()
        with (trained / "log/steps.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert len(losses) == QUEUED // 2
        assert all(loss > 0 for loss in losses)
