"""Which annotated image a row of a run is, and in which frame its keypoints are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.annotated import (
    image_rows,
    results_of,
    write_json,
    write_units,
)
from support.coco_reference import pycocotools_numbers
from support.scored import evaluated, in_units, numbers, score, warnings

from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.skeletons import COCO


def test_an_image_that_occurs_twice_counts_once_within_and_across_parts(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    others = image_rows(annotations, results_of(annotations, seed=9))
    units = [[row] for row in rows] + [others[:3], others[-1:]]
    write_units(tmp_path / "run", units, skeleton=COCO)

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert warnings(found) == {"duplicate_predictions": 4}
    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)


def test_missing_and_failed_images_count_as_missed_persons(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    rows[0] = replace(rows[0], poses=None, status=ImageStatus.CORRUPT, error="cut")
    write_units(tmp_path / "run", [rows[:-5]], skeleton=COCO)
    gone = {1, *range(36, 41)}

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert warnings(found) == {"images_missing": 5, "images_failed": 1}
    left = [entry for entry in results if entry["image_id"] not in gone]
    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, left), abs=1e-12)


def test_predictions_in_unknown_images_are_left_out(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    stranger = replace(rows[1], image_key="elsewhere/stranger.jpg", image_id=999)
    write_units(tmp_path / "run", [[*rows, stranger]], skeleton=COCO)
    file = write_json(tmp_path / "results.json", [*results, {**results[0], "image_id": 999}])

    expected = pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)
    run, listed = (evaluated(tmp_path, annotations, uri) for uri in (tmp_path / "run", file))
    assert warnings(run) == {"images_not_annotated": 1}
    assert warnings(listed) == {"predictions_of_unknown_images": 1}
    assert numbers(run) == numbers(listed) == expected


def test_file_names_decide_which_image_it_is_not_numbers_that_happen_to_be_ids(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    shifted = [replace(row, image_id=number % 40 + 1) for number, row in enumerate(rows, start=1)]
    write_units(tmp_path / "run", [shifted], skeleton=COCO)

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)


def test_image_ids_of_the_run_count_where_the_annotations_have_no_file_names(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    rows = [replace(row, image_id=number) for number, row in enumerate(rows, start=1)]
    write_units(tmp_path / "run", [rows], skeleton=COCO)
    for image in annotations["images"]:
        del image["file_name"]

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)


@pytest.mark.parametrize(("listed", "keyed"), [("val2017/", ""), ("", "coco/val2017/"), ("a/", "b/a/")])
def test_a_folder_that_run_or_annotations_lack_does_not_matter(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]], listed: str, keyed: str
) -> None:
    rows = [replace(row, image_key=keyed + row.image_key) for row in image_rows(annotations, results)]
    write_units(tmp_path / "run", in_units(rows), skeleton=COCO)
    for image in annotations["images"]:
        image["file_name"] = listed + image["file_name"]

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert found.warnings == ()
    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)


def test_a_missing_image_does_not_take_the_persons_of_another_folders_namesake(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    name = rows[4].image_key
    rows[4] = replace(rows[4], image_key=f"b/{name}", image_id=5)
    annotations["images"][4]["file_name"] = f"a/{name}"
    write_units(tmp_path / "run", in_units(rows), skeleton=COCO)

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert warnings(found) == {"images_not_annotated": 1, "images_missing": 1}
    left = [entry for entry in results if entry["image_id"] != 5]
    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, left), abs=1e-12)


def test_the_image_of_the_exact_name_counts_and_of_two_others_neither_can(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    rows = image_rows(annotations, results)
    other = replace(image_rows(annotations, results_of(annotations, seed=9))[0], image_key="b/x.jpg")
    name = annotations["images"][0]["file_name"] = "x.jpg"
    own = replace(rows[0], image_key=name)
    write_units(tmp_path / "run", [[row] for row in [other, *rows[1:], own]], skeleton=COCO)
    own = replace(rows[0], image_key=f"a/{name}")
    write_units(tmp_path / "unclear", [[row] for row in [other, *rows[1:], own]], skeleton=COCO)

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert warnings(found) == {"images_not_annotated": 1}
    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)
    with pytest.raises(ConfigurationError, match=r"images b/x\.jpg and a/x\.jpg: which of them is image 1"):
        evaluated(tmp_path, annotations, tmp_path / "unclear")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exif_orientation": 6}, "exif_rule_applied"),
        ({"width": 480, "height": 640}, "swapped_sizes"),
        ({"width": 480, "height": 640, "exif_orientation": 6}, "exif_rule_applied"),
        ({"width": 320, "height": 240}, "sizes_differ"),
    ],
)
def test_images_in_another_frame_than_the_annotations_are_named(
    tmp_path: Path, annotations: dict[str, Any], changes: dict[str, int], code: str
) -> None:
    write_units(tmp_path / "run", [image_rows(annotations, [], **changes)], skeleton=COCO)

    assert warnings(evaluated(tmp_path, annotations, tmp_path / "run")) == {code: 40}


def test_ignoring_exif_is_cocos_own_rule_and_no_reason_to_warn(
    tmp_path: Path, annotations: dict[str, Any]
) -> None:
    rows = image_rows(annotations, [], exif_orientation=6)
    write_units(tmp_path / "run", [rows], skeleton=COCO, exif="ignore")

    assert warnings(evaluated(tmp_path, annotations, tmp_path / "run")) == {}


def test_of_an_image_that_occurs_twice_the_results_file_has_the_first(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    others = image_rows(annotations, results_of(annotations, seed=9))
    units = [[row] for row in [*image_rows(annotations, results), *others[:9]]]
    write_units(tmp_path / "run", units, skeleton=COCO)
    file = write_json(tmp_path / "annotations.json", annotations)

    first = score(tmp_path / "run", file, diagnosis=False, results=tmp_path / "r.json").evaluation

    assert numbers(first) == numbers(score(tmp_path / "r.json", file, diagnosis=False).evaluation)
    assert first.detections == len(json.loads((tmp_path / "r.json").read_text()))
