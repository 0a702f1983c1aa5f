"""The list of images that a test set shares with a training set, made and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.annotated import annotated_people, results_of, write_json
from support.coco_reference import read_json
from support.shared import shared_path

from jobs import evaluate, overlap


def listed(tmp_path: Path, annotations: str, training: str, protocol: str = "coco") -> int:
    return overlap.main(
        [
            *("--annotations", annotations, "--protocol", protocol, "--training", training),
            *("--output", str(tmp_path / "overlap.json")),
        ]
    )


def test_the_list_names_the_shared_images_and_the_evaluation_warns_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test_set = annotated_people(12, seed=1)
    training = annotated_people(5, seed=2)
    taken = [person for person in test_set["annotations"] if person["image_id"] == 3]
    training["annotations"] += [{**person, "image_id": 4000, "id": 9000} for person in taken]
    truth = write_json(tmp_path / "test.json", test_set)

    assert listed(tmp_path, truth, write_json(tmp_path / "train.json", training)) == 0
    assert "1 of 12 images are in the training set" in capsys.readouterr().out
    found = read_json(tmp_path / "overlap.json")
    assert found == {"3": {"training_image_id": 4000, "shared_persons": len(taken)}}

    arguments = ["--predictions", write_json(tmp_path / "results.json", results_of(test_set))]
    arguments += ["--annotations", truth, "--protocol", "coco", "--output", str(tmp_path / "out")]
    arguments += ["--numbers-only", "--train-overlap", str(tmp_path / "overlap.json")]
    assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "warning: train_overlap: 1: images were in the model's training set too" in printed
    assert "without the images that are in the training set:" in printed


def test_crowdpose_val_shares_the_known_images_with_coco_train(tmp_path: Path) -> None:
    with np.load(shared_path("data", "annotations", "coco_kp_train2017.npz"), allow_pickle=False) as archive:
        keypoints, images = archive["keypoints"], archive["image_id"][archive["person_image"]]
    wanted = read_json(shared_path("data", "crowdpose", "crowdpose_val_to_coco.json"))
    known = {
        image_id: entry["coco_id"] for image_id, entry in wanted.items() if entry["split"] == "train2017"
    }
    chosen = np.flatnonzero(np.isin(images, list(known.values())))
    people: list[dict[str, Any]] = [
        {"id": int(row), "image_id": int(images[row]), "keypoints": keypoints[row].ravel().tolist()}
        for row in chosen
    ]
    training = write_json(tmp_path / "train.json", {"images": [], "annotations": people})
    crowdpose = str(shared_path("data", "crowdpose", "crowdpose_val.json"))

    assert listed(tmp_path, crowdpose, training, "crowdpose") == 0

    found = {key: entry["training_image_id"] for key, entry in read_json(tmp_path / "overlap.json").items()}
    assert len(found) > 0.98 * len(known)
    assert found.items() <= known.items()


@pytest.mark.parametrize("content", [{"images": []}, [1, 2], {"annotations": [{"keypoints": [1, 2, 3]}]}])
def test_a_training_file_that_is_no_annotation_file_is_refused(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_json(tmp_path / "test.json", annotated_people(3))

    assert listed(tmp_path, truth, write_json(tmp_path / "train.json", content)) == 2
    assert "train.json" in capsys.readouterr().err
    assert not (tmp_path / "overlap.json").exists()
