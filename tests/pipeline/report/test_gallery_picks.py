"""Which images the gallery picks, and how it behaves where they cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.annotated import write_json
from support.rows import result, some_poses
from support.runs import made_up_set, noisy_predictions, write_run

from pipeline.ground_truth import read_annotations
from pipeline.report.gallery import Pick, disagreement, drawn_from_score, survey_run
from pipeline.report.pictures import PictureMaker
from pipeline.run_rows import open_run_rows
from pipeline.schema import ImageResult
from pipeline.single_image import ImageReader
from pipeline.storage import Storage
from posrefine.errors import StorageError
from posrefine.inference.poses import Poses
from posrefine.metrics import protocol_named
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
    rows = open_run_rows(write_run(tmp_path / "run", [images]), Storage())
    return survey_run(rows, Storage(), None, None, size=size)


def keys_of(found, title: str) -> list[str]:
    return next([p.image.image_key for p in g.picks] for g in found.groups if g.title.startswith(title))


def test_the_worst_images_are_those_whose_persons_were_found_worst(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=10)
    people = {person["image_id"] for person in truth["annotations"]}
    rows = noisy_predictions(truth, tmp_path / "images", noise=0.001)
    spoiled = sorted(people)[1]
    rows = [replace(row, poses=Poses.none(17)) if row.image_id == spoiled else row for row in rows]
    run = open_run_rows(write_run(tmp_path / "run", [rows]), Storage())
    protocol = protocol_named("coco")
    annotations = read_annotations(Storage(), write_json(tmp_path / "truth.json", truth), protocol)
    found = survey_run(run, Storage(), annotations, protocol, size=20)
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
    assert drawn_from_score(both) == pytest.approx(0.2)
    assert disagreement(both) == pytest.approx((1.0, 0.01))


def test_the_best_person_is_drawn_even_where_all_scores_are_below_zero():
    found = poses(-0.02, spread_px=7)
    assert drawn_from_score(found) <= -0.02
    assert disagreement(found) == pytest.approx((7.0, 0.07))


def test_a_single_view_disagrees_with_nobody(tmp_path: Path):
    assert disagreement(some_poses(3, 0, one_view=True)) is None
    assert disagreement(Poses.none(17)) is None
    found = survey(tmp_path, [image(0, some_poses(2, 0, one_view=True))])
    assert not any(group.title.startswith("Test-time") for group in found.groups)


def test_the_least_sure_images_have_somebody_in_them(tmp_path: Path):
    images = [image(0, poses(0.9)), image(1, poses(0.2)), image(2, Poses.none(17)), image(3, poses(0.4))]
    found = survey(tmp_path, images)
    assert keys_of(found, "Least sure") == ["1.jpg", "3.jpg"]
    assert found.persons[:2] == (1, 3)
    assert sum(found.scores) == 3
    assert found.scores[4] == 1


def test_the_random_images_are_the_same_the_next_time(tmp_path: Path):
    images = [image(number, poses(0.5)) for number in range(50)]
    rows = open_run_rows(write_run(tmp_path / "run", [images]), Storage())
    first, second = (survey_run(rows, Storage(), None, None, size=5) for _ in range(2))
    assert keys_of(first, "Drawn at random") == keys_of(second, "Drawn at random")
    assert keys_of(first, "Drawn at random") != [f"{number}.jpg" for number in range(5)]


def test_a_store_that_cannot_be_reached_is_asked_once():
    class Unreachable(ImageReader):
        asked = 0

        def encoded(self, uri: str) -> bytes:
            Unreachable.asked += 1
            raise StorageError(f"{uri}: no route to host")

    maker = PictureMaker(Unreachable(Storage()), COCO)
    pictures = [maker.make(Pick(image(number, poses(0.5)), "why")) for number in range(3)]
    assert Unreachable.asked == 1
    assert all(picture.source is None for picture in pictures)
    assert all("no route to host" in (picture.note or "") for picture in pictures)
