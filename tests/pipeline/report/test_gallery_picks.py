"""Which images the gallery picks, and how it behaves where they cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.annotated import write_json
from support.rows import result, some_poses
from support.runs import made_up_set, noisy_predictions, write_run

from pipeline.evaluation.benchmark import Benchmark
from pipeline.inputs.single_image import ImageReader
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.report.gallery import PERSON_BINS, Pick, disagreement, survey_images
from pipeline.report.pictures import PictureMaker
from pipeline.storage import Storage
from posrefine.errors import StorageError
from posrefine.poses import Poses
from posrefine.skeletons import COCO


def poses(score: float, spread_px: float = 1.0, size_px: float = 100.0) -> Poses:
    corners = np.linspace(0, size_px, 17, dtype=np.float32)
    return Poses(
        keypoints=np.stack([corners, corners], axis=1)[None],
        keypoint_scores=np.full((1, 17), score, np.float32),
        scores=np.array([score], np.float32),
        spread_px=np.full((1, 17), spread_px, np.float32),
    )


def image(number: int, found: Poses) -> ImageResult:
    return result(number, found)


def survey(tmp_path: Path, images: list[ImageResult], size: int = 2):
    rows = RunOutput.at(write_run(tmp_path / "run", [images]), Storage()).rows()
    return survey_images(rows.images(), None, size=size, min_score=0.3)


def keys_of(found, title: str) -> list[str]:
    return next([p.image.image_key for p in g.picks] for g in found.groups if g.title.startswith(title))


def test_the_worst_images_are_those_whose_persons_were_found_worst(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=10)
    people = {person["image_id"] for person in truth["annotations"]}
    rows = noisy_predictions(truth, tmp_path / "images", noise=0.001)
    spoiled = sorted(people)[1]
    rows = [replace(row, poses=Poses.none(17)) if row.image_id == spoiled else row for row in rows]
    run = RunOutput.at(write_run(tmp_path / "run", [rows]), Storage()).rows()
    benchmark = Benchmark.open(write_json(tmp_path / "truth.json", truth), "coco", Storage())
    found = survey_images(run.images(), benchmark, size=20, min_score=0.3)
    judged = {
        pick.image.image_id: pick.truth.mean_oks
        for group in found.groups
        for pick in group.picks
        if pick.truth
    }
    assert set(judged) == people
    assert judged[spoiled] == 0
    worst = next(group for group in found.groups if group.title == "Worst images")
    assert worst.picks[0].image.image_id in {image_id for image_id, oks in judged.items() if oks == 0}
    values = [pick.truth.mean_oks for pick in worst.picks if pick.truth]
    assert values == sorted(values) or np.allclose(values, sorted(values), atol=0.01)


def test_disagreement_is_measured_against_the_size_of_the_person(tmp_path: Path):
    images = [
        image(0, poses(0.9, spread_px=10, size_px=400)),
        image(1, poses(0.9, spread_px=4, size_px=20)),
        image(2, poses(0.9, spread_px=1, size_px=300)),
    ]
    assert keys_of(survey(tmp_path, images), "Test-time views") == ["1.jpg", "0.jpg"]


def test_doubtful_persons_do_not_speak_for_their_image():
    sure, doubtful = poses(0.8, spread_px=1), poses(0.1, spread_px=90)
    both = Poses(
        *(
            np.concatenate([getattr(sure, name), getattr(doubtful, name)])
            for name in ("keypoints", "keypoint_scores", "scores", "spread_px")
        )
    )
    assert disagreement(both, 0.3) == pytest.approx((1.0, 0.01))
    assert disagreement(both, 0.9) is None


def test_a_single_view_disagrees_with_nobody(tmp_path: Path):
    assert disagreement(some_poses(3, 0, one_view=True), 0.0) is None
    assert disagreement(Poses.none(17), 0.0) is None
    found = survey(tmp_path, [image(0, some_poses(2, 0, one_view=True))])
    assert not any(group.title.startswith("Test-time") for group in found.groups)


def test_the_least_sure_images_have_somebody_in_them_who_counts(tmp_path: Path):
    found_scores = [0.9, 0.35, None, 0.4, 0.2]
    images = [
        image(number, Poses.none(17) if score is None else poses(score))
        for number, score in enumerate(found_scores)
    ]
    found = survey(tmp_path, images)
    assert keys_of(found, "Least sure") == ["1.jpg", "3.jpg"]
    assert found.persons[:2] == (2, 3)
    # Who is below the least score is in no figure.
    assert sum(found.scores) == 3
    assert (found.scores[4], found.scores[7], found.scores[8]) == (0, 1, 1)


def test_few_people_are_counted_one_by_one_and_crowds_by_size(tmp_path: Path):
    crowds = [0, 1, 1, 4, 5, 9, 10, 19, 39, 40, 200]
    one = poses(0.5)
    fields = ("keypoints", "keypoint_scores", "scores", "spread_px")
    of_many = [Poses(**{name: np.repeat(getattr(one, name), n, axis=0) for name in fields}) for n in crowds]
    found = survey(tmp_path, [image(number, found) for number, found in enumerate(of_many)])
    assert dict(zip(PERSON_BINS, found.persons, strict=True)) == {
        "0": 1, "1": 2, "2": 0, "3": 0, "4": 1, "5–9": 2, "10–19": 2, "20–39": 1, "40+": 2,
    }  # fmt: skip


def test_the_random_images_are_the_same_the_next_time(tmp_path: Path):
    images = [image(number, poses(0.5)) for number in range(50)]
    rows = RunOutput.at(write_run(tmp_path / "run", [images]), Storage()).rows()
    first, second = (survey_images(rows.images(), None, size=5, min_score=0.3) for _ in range(2))
    assert keys_of(first, "Drawn at random") == keys_of(second, "Drawn at random")
    assert keys_of(first, "Drawn at random") != [f"{number}.jpg" for number in range(5)]


def test_a_store_that_cannot_be_reached_is_asked_once():
    class Unreachable(ImageReader):
        asked = 0

        def encoded(self, uri: str) -> bytes:
            Unreachable.asked += 1
            raise StorageError(f"{uri}: no route to host")

    maker = PictureMaker(Unreachable(Storage()), COCO, 0.3)
    pictures = [maker.make(Pick(image(number, poses(0.5)), "why")) for number in range(3)]
    assert Unreachable.asked == 1
    assert all(picture.source is None for picture in pictures)
    assert all("no route to host" in (picture.note or "") for picture in pictures)
