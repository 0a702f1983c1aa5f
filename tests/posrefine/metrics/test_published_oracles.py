"""Numbers that others published for small sets, to the last digit."""

from __future__ import annotations

import pytest
from support.coco_reference import read_json
from support.evaluation import our_numbers
from support.shared import shared_path


def test_coco_val2014_fake_results_give_the_official_three_digits_and_pycocotools_full_precision() -> None:
    folder = shared_path("data", "oracle", "coco_val2014_100")
    expected = read_json(folder / "expected.json")

    numbers = our_numbers(
        read_json(folder / "gt_person_keypoints_val2014_100.json"),
        read_json(folder / "dt_fakekeypoints100_results.json"),
    )

    assert [round(number, 3) for number in numbers] == expected["official_3_digits"]
    assert numbers == pytest.approx(expected["full_precision"], abs=1e-15)


def test_crowdpose_four_images_give_the_published_nine_numbers() -> None:
    folder = shared_path("data", "oracle", "crowdpose_4images")

    numbers = our_numbers(read_json(folder / "gt.json"), read_json(folder / "dt.json"), "crowdpose")

    assert numbers == pytest.approx(read_json(folder / "expected.json")["expected"], abs=1e-15)
