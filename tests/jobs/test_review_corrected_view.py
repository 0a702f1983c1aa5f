"""Whose persons the jobs take: people's where they corrected an image, by default; how the network errs is
learnt from its own."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.annotated import write_json
from support.answers import answer
from support.coco_reference import pycocotools_numbers, read_json
from support.corrections import models_rows
from support.standing import Standing, persons_in, picture

from jobs.annotate import main as annotate
from jobs.evaluate import main as evaluate
from jobs.train_score import main as train_score
from pipeline.output.schema import ImageResult
from pipeline.review.corrections import import_reviews
from pipeline.review.labels import ReviewedPerson
from pipeline.storage import Storage
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO
from posrefine.weights import load_weights

PICTURES = [data for data in (picture(seed, 512) for seed in range(40)) if persons_in(data)][:6]

Rows = Mapping[str, Sequence[tuple[NDArray[np.float32], float]]]
"""Of each image the joints of its persons, [17, 2] image px, and their scores."""


@dataclass(frozen=True)
class Case:
    """A run, two images of which somebody can correct.

    Attributes:
        standing: the run.
        truth: annotations of persons some px from where the network has them.
        found: the network's rows.
        said: people's persons of two images, as the annotations have them; one of them was overlooked.
    """

    standing: Standing
    truth: dict[str, Any]
    found: dict[str, ImageResult]
    said: dict[str, list[ReviewedPerson]]

    def correct(self) -> None:
        """Import what people say."""
        answers = [answer(self.found[key], persons) for key, persons in self.said.items()]
        import_reviews(self.standing.output, answers, ["answers.json"])

    def rows(self, source: str) -> Rows:
        """The persons that count, as the test knows them: from answers and rows, by no reader of outputs."""
        rows = {
            key: [(pose.keypoints, float(score)) for pose, score in zip(poses, poses.scores, strict=True)]
            for key, poses in ((key, image.poses) for key, image in self.found.items())
            if poses is not None
        }
        people = {key: [(person.keypoints, 1.0) for person in persons] for key, persons in self.said.items()}
        return rows if source == "model" else rows | people


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "in").mkdir()
    for number, data in enumerate(PICTURES):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "run"), {"min_score": 0.0})
    standing.sync()
    found = models_rows(standing.output)
    truth = people_near(found)
    said = {key: [labelled(one) for one in persons_of(truth, key)] for key in ("0.png", "3.png")}
    said["3.png"].pop()
    return Case(standing, truth, found, said)


def people_near(found: Mapping[str, ImageResult]) -> dict[str, Any]:
    """Annotations, with ids that the run knows nothing of."""
    rng, people, images = np.random.default_rng(1), list[dict[str, Any]](), []
    for number, (key, image) in enumerate(sorted(found.items())):
        images.append({"id": 100 + number, "file_name": key, "width": 512, "height": 512})
        assert image.poses is not None
        for pose in image.poses:
            points = np.round(pose.keypoints + rng.normal(0, 25, (17, 2)), 2).clip(0, 511)
            low, high = points.min(axis=0), points.max(axis=0)
            box = [*low.tolist(), *(high - low).tolist()]
            people.append(
                {"id": len(people) + 1, "image_id": 100 + number, "category_id": 1, "iscrowd": 0, "bbox": box}
                | {"area": 0.53 * box[2] * box[3], "num_keypoints": 17}
                | {"keypoints": np.hstack([points, np.full((17, 1), 2)]).ravel().tolist()}
            )
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}]
    return {"images": images, "annotations": people, "categories": categories}


def persons_of(truth: dict[str, Any], key: str) -> list[dict[str, Any]]:
    (image_id,) = (image["id"] for image in truth["images"] if image["file_name"] == key)
    return [person for person in truth["annotations"] if person["image_id"] == image_id]


def labelled(person: dict[str, Any]) -> ReviewedPerson:
    points = np.array(person["keypoints"], np.float32).reshape(17, 3)
    return ReviewedPerson(points[:, :2].copy(), points[:, 2].astype(np.int8))


def expected_ap(truth: dict[str, Any], rows: Rows) -> list[float]:
    """pycocotools' AP, AP50 and AP75."""
    results = [
        {"image_id": image["id"], "category_id": 1, "score": score}
        | {"keypoints": np.hstack([keypoints.astype(np.float64), np.ones((17, 1))]).ravel().tolist()}
        for image in truth["images"]
        for keypoints, score in rows[image["file_name"]]
    ]
    return pycocotools_numbers(truth, results)[:3]


@pytest.mark.parametrize("asked", [(), ("--source", "corrected"), ("--source", "model")])
def test_evaluate_scores_corrected_rows_unless_the_networks_own_are_asked_for(
    case: Case, asked: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    case.correct()
    annotations = write_json(tmp_path / "truth.json", case.truth)
    given = ["--predictions", case.standing.output_uri, "--annotations", annotations, "--protocol", "coco"]
    scored = tmp_path / "scored"
    assert evaluate([*given, "--output", str(scored), "--draws", "5", "--no-distributed", *asked]) == 0
    metrics, source = read_json(scored / "metrics.json"), asked[-1] if asked else "corrected"
    assert [metrics[name] for name in ("AP", "AP50", "AP75")] == expected_ap(case.truth, case.rows(source))
    assert ("warning: images_corrected: 2" in capsys.readouterr().out) == (source == "corrected")
    corrected, model = (expected_ap(case.truth, case.rows(name)) for name in ("corrected", "model"))
    assert corrected[0] > model[0] > 0


@pytest.mark.parametrize("asked", [(), ("--source", "corrected"), ("--source", "model")])
def test_export_writes_corrected_rows_unless_the_networks_own_are_asked_for(
    case: Case, asked: tuple[str, ...], tmp_path: Path
):
    case.correct()
    given = ["--output", case.standing.output_uri, "--format", "coco", "--to", str(tmp_path / "to")]
    assert annotate(["export", *given, *asked]) == 0
    with zipfile.ZipFile(tmp_path / "to" / "coco_keypoints.zip") as archive:
        content = json.loads(archive.read(archive.namelist()[0]))
    for key, persons in case.rows(asked[-1] if asked else "corrected").items():
        joints = [np.reshape(one["keypoints"], (17, 3))[:, :2] for one in persons_of(content, key)]
        assert len(joints) == len(persons)
        for found, (wanted, _) in zip(joints, persons, strict=True):
            np.testing.assert_allclose(found, wanted, atol=6e-3)


def test_a_rescoring_network_learns_how_the_network_errs_and_so_from_its_own_rows_whatever_people_say(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    annotations, run = write_json(tmp_path / "truth.json", case.truth), case.standing.output_uri

    def learnt(name: str) -> bytes:
        path = tmp_path / f"{name}.safetensors"
        given = ["--run", run, "--annotations", annotations, "--output", str(path), "--epochs", "2"]
        assert train_score([*given, "--batch-size", "8"]) == 0
        poses = sum(len(persons) for persons in case.rows("model").values())
        assert f"learnt from {poses} poses" in capsys.readouterr().out
        assert load_weights(ScoreNet(COCO), path).metadata["data"].startswith(f"{poses} poses of {run}")
        return path.read_bytes()

    before = learnt("before")
    case.correct()
    assert learnt("after") == before
    # And from tables, where another generation has come since.
    Path(case.standing.input, "broken.png").write_bytes(picture(-1))
    case.standing.sync()
    assert {image.source for image in case.standing.output.images()} == {"ann", "model"}
    assert learnt("later") == before
