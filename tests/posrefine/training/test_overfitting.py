"""The whole recipe at once: what cannot learn eight photographs by heart cannot learn anything."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.shared import shared_path
from support.training import small_trainer

from posrefine.skeletons import COCO
from posrefine.training.augmentation import apply_view, make_view
from posrefine.training.labels import label_image
from posrefine.training.recipe import TrainRecipe
from posrefine.training.samples import LabelledImage
from posrefine.training.targets import TargetSpec, make_batch
from posrefine.training.validation import ValidationSet

SIDE_PX = 192
CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO.joints)}


def photographs_of_few_people(count: int) -> list[LabelledImage]:
    """Photographs with nobody but one to three well visible persons, as squares of `SIDE_PX`.

    Persons are told apart by their centres, so those of a photograph must not lie within one peak's reach.
    """
    root = shared_path("data", "coco67")
    content = json.loads((root / "person_keypoints.json").read_text())
    persons: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in content["annotations"]:
        persons[record["image_id"]].append(record)
    chosen = [
        record
        for record in content["images"]
        if 1 <= len(persons[record["id"]]) <= 3
        and all(person["num_keypoints"] >= 9 and person["area"] > 9000 for person in persons[record["id"]])
    ]
    squares = []
    for record in chosen:
        pixels = np.asarray(Image.open(root / "images" / record["file_name"]).convert("RGB"))
        labelled = label_image(pixels, persons[record["id"]], COCO)
        height, width = pixels.shape[:2]
        side = max(height, width)
        view = make_view(((width - 1) / 2, (height - 1) / 2), side, 0.0, SIDE_PX, mirrored=False)
        square = apply_view(labelled, view, COCO)
        if centres_differ(square):
            squares.append(replace(square, areas_px2=square.areas_px2 * np.float32((SIDE_PX / side) ** 2)))
    return squares[:count]


def centres_differ(square: LabelledImage) -> bool:
    centres = [person[person[:, 2] > 0, :2].mean(axis=0) for person in square.keypoints]
    return all(np.linalg.norm(a - b) > 24 for a, b in itertools.combinations(centres, 2))


def as_validation(squares: list[LabelledImage]) -> ValidationSet:
    images = [
        {"id": number, "file_name": f"{number}.png", "width": SIDE_PX, "height": SIDE_PX}
        for number in range(1, len(squares) + 1)
    ]
    annotations = [
        {"id": 100 * number + index, "image_id": number, "category_id": 1, "iscrowd": 0, "area": float(area),
         "bbox": [0.0, 0.0, float(SIDE_PX), float(SIDE_PX)], "keypoints": points.ravel().tolist(),
         "num_keypoints": int((points[:, 2] > 0).sum())}
        for number, square in enumerate(squares, 1)
        for index, (points, area) in enumerate(zip(square.keypoints, square.areas_px2, strict=True))
    ]  # fmt: skip
    pixels = {number: square.pixels for number, square in enumerate(squares, 1)}
    content = {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    return ValidationSet.of(pixels, content, COCO)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.timeout(3600)
def test_eight_photographs_are_learnt_by_heart():
    squares = photographs_of_few_people(8)
    assert len(squares) == 8
    targets = TargetSpec(
        joint_sigma_cells=1.5, centre_sigma_cells=2.0, offset_radius_cells=3, min_area_px2=0.0
    )
    recipe = TrainRecipe(
        total_steps=400, batch_size=8, learning_rate=4e-3, schedule="cosine", warmup_steps=20, ema_decay=0.97,
        gradient_clip_norm=1.0, offset_factor=0.3, precision="bfloat16", input_sizes_px=((0.0, SIDE_PX),),
    )  # fmt: skip
    trainer, batch, learnt = small_trainer(recipe), make_batch(squares, targets), as_validation(squares)
    reached: dict[int, float] = {}
    # Processors round differently, so how many steps it takes differs as well: usually about 200.
    while trainer.step < recipe.total_steps and max(reached.values(), default=0.0) <= 0.9:
        for _ in range(50):
            trainer.train_step(batch)
        reached[trainer.step] = learnt.metrics(trainer.average.model, SIDE_PX).AP
    assert max(reached.values()) > 0.9, reached
