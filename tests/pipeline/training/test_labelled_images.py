"""Labelled images from folders and tars, broken ones among them."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.s3 import Bucket
from support.shards import make_tar

from pipeline.storage import Storage
from pipeline.training.labelled_images import Frames, LabelledImages
from posrefine.errors import ConfigurationError, ShardError, TrainingError
from posrefine.skeletons import COCO

NAMES = ["a.png", "b.png", "c.png"]


def png(value: int, width: int = 40, height: int = 30) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def annotations(names: list[str] = NAMES, **changes: Any) -> dict[str, Any]:
    images = [{"id": n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names, 1)]
    persons = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 20, 10], "area": 150.0, "iscrowd": 0,
         "keypoints": [n, 5, 2] * 17, "num_keypoints": 17}
        for n in range(1, len(names) + 1)
    ]  # fmt: skip
    return {"images": images, "annotations": persons, "categories": [{"id": 1, "name": "person"}]} | changes


def write_folder(folder: Path, files: dict[str, bytes], content: dict[str, Any]) -> str:
    for name, data in files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "labels.json").write_text(json.dumps(content))
    return str(folder / "labels.json")


def open_folder(
    folder: Path, files: dict[str, bytes], content: dict[str, Any], **options: Any
) -> LabelledImages:
    labels = write_folder(folder, files, content)
    return LabelledImages.open(str(folder / "images"), labels, COCO, Storage(), **options)


GOOD = {name: png(10 * number) for number, name in enumerate(NAMES, 1)}


def test_a_folder_and_a_tar_in_a_bucket_hold_the_same_images(tmp_path: Path, s3_bucket: Bucket):
    folder = open_folder(tmp_path, GOOD, annotations())
    s3_bucket.write("data/0.tar", make_tar({"a.png": GOOD["a.png"], "a.json": b"{}"}))
    s3_bucket.write("data/1.tar", make_tar({"deep/c.png": GOOD["c.png"], "deep/b.png": GOOD["b.png"]}))
    tars = LabelledImages.open(f"{s3_bucket.uri}/data", str(tmp_path / "labels.json"), COCO, Storage())
    assert len(folder) == len(tars) == 3
    for position in range(3):
        one, other = folder[position], tars[position]
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        assert one.pixels[0, 0, 0] == 10 * (position + 1)
        assert one.keypoints[0, 0].tolist() == [position + 1, 5, 2]
        assert one.diagonals_px[0] == pytest.approx(np.hypot(20, 10))


def test_a_broken_image_is_replaced_by_the_next_one_with_a_warning(tmp_path: Path, caplog):
    labelled = open_folder(tmp_path, GOOD | {"b.png": GOOD["b.png"][:-30]}, annotations())
    with caplog.at_level(logging.WARNING):
        assert labelled[1].pixels[0, 0, 0] == 30
    assert "b.png: truncated" in caplog.text


def test_nothing_but_broken_images_stops_training(tmp_path: Path):
    labelled = open_folder(tmp_path, dict.fromkeys(NAMES, b"text"), annotations())
    with pytest.raises(TrainingError, match=r"20 images in a row cannot be used.*unsupported"):
        labelled[0]


def test_a_cut_tar_is_refused_when_it_is_indexed(tmp_path: Path):
    tar = make_tar(GOOD)[:-10240]
    with pytest.raises(ShardError, match="end-of-archive"):
        open_folder(tmp_path, {"0.tar": tar}, annotations())


def test_annotations_without_any_labelled_person_are_refused(tmp_path: Path):
    content = annotations()
    for person in content["annotations"]:
        person |= {"keypoints": [0] * 51, "num_keypoints": 0}
    with pytest.raises(TrainingError, match="no person has labelled keypoints"):
        open_folder(tmp_path, GOOD, content)


def test_annotations_of_other_images_are_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="none of its 3 images is among the 1 annotated ones"):
        open_folder(tmp_path, GOOD, annotations(["z.png"]))


def test_annotations_for_another_image_size_are_refused(tmp_path: Path):
    labelled = open_folder(tmp_path, {"a.png": png(1, 31, 40)}, annotations(["a.png"]))
    with pytest.raises(ConfigurationError, match=r"a\.png: 31x40 px, but its annotations are for 40x30"):
        labelled[0]


def test_missing_images_are_counted_and_images_without_persons_left_out(tmp_path: Path, caplog):
    content = annotations([*NAMES, "gone.png"])
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] != 2]
    with caplog.at_level(logging.WARNING):
        labelled = open_folder(tmp_path, GOOD, content)
    assert [place.key for place in labelled.places] == ["a.png", "c.png"]
    assert "1 of 3 annotated images are missing" in caplog.text


def test_validation_keeps_images_without_persons_and_decodes_them_when_asked(tmp_path: Path):
    content = annotations()
    del content["annotations"][1]
    files = GOOD | {"c.png": b""}
    labelled = open_folder(tmp_path, files, content, only_with_persons=False)
    frames = Frames(labelled)
    assert list(frames) == [1, 2, 3]
    assert frames[2][0, 0, 0] == 20
    assert len(labelled.annotation_file()["annotations"]) == 2
    with pytest.raises(TrainingError, match="validation image 3 cannot be used: truncated"):
        frames[3]


def test_parquet_is_refused_with_a_way_out(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"jobs/pack\.py"):
        open_folder(tmp_path, {"0.parquet": b""}, annotations())


def test_a_file_that_is_no_annotation_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no COCO annotation file"):
        open_folder(tmp_path, GOOD, {"images": []})


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": None},
        {"bbox": [1, 2, 3]},
        {"area": float("nan")},
        {"keypoints": "abc"},
        {"keypoints": [float("nan")] * 51},
        {"keypoints": [None] * 51},
    ],
    ids=str,
)
def test_a_person_of_what_are_no_numbers_is_refused_by_name(tmp_path: Path, change: dict[str, Any]):
    content = annotations()
    content["annotations"][1] |= change
    with pytest.raises(ConfigurationError, match=r"labels\.json: no COCO annotation file: annotation 2 has"):
        open_folder(tmp_path, GOOD, content)


def test_an_area_of_null_is_that_of_the_box(tmp_path: Path):
    content = annotations()
    content["annotations"][0]["area"] = None
    assert open_folder(tmp_path, GOOD, content)[0].areas_px2.tolist() == [200.0]


def test_only_the_person_category_is_learnt_or_masked(tmp_path: Path):
    content = annotations()
    dog = {"bbox": [20, 10, 9, 9], "area": 81.0, "iscrowd": 0, "category_id": 2}
    content["annotations"] += [
        dog | {"id": 11, "image_id": 1, "keypoints": [25, 15, 2] * 17, "num_keypoints": 17},
        dog | {"id": 12, "image_id": 1, "keypoints": [0] * 51, "num_keypoints": 0},
        dog | {"id": 13, "image_id": 1, "iscrowd": 1, "segmentation": [[20, 10, 29, 10, 29, 19, 20, 19]]},
    ]
    content["categories"].append({"id": 2, "name": "dog"})
    labelled = open_folder(tmp_path, GOOD, content)[0]
    assert len(labelled.keypoints) == 1
    assert not labelled.ignored.any()


def test_sets_of_other_joints_are_learnt_by_the_names_in_their_category(tmp_path: Path):
    content = annotations()
    content["categories"] = [{"id": 1, "name": "person", "keypoints": ["top_head", "right_ankle"]}]
    for record in content["annotations"]:
        record["keypoints"] = [1, 2, 2, 8, 9, 2]
    labelled = open_folder(tmp_path, GOOD, content)[0]
    assert labelled.keypoints[0, 16].tolist() == [8, 9, 2]
    assert labelled.known_joints.tolist() == [False] * 16 + [True]


def test_joints_without_a_common_name_are_refused(tmp_path: Path):
    content = annotations(categories=[{"id": 1, "name": "person", "keypoints": ["tail"]}])
    with pytest.raises(ConfigurationError, match="the joints tail have none in common with coco's"):
        open_folder(tmp_path, GOOD, content)


def test_smaller_and_larger_copies_are_brought_to_the_size_of_their_record_if_told(tmp_path: Path):
    files = GOOD | {"a.png": png(10, 80, 60), "b.png": png(20, 21, 16), "c.png": png(30, 31, 40)}
    labelled = open_folder(tmp_path, files, annotations(), resize=True)
    assert labelled[0].pixels.shape == labelled[1].pixels.shape == (30, 40, 3)
    assert labelled[0].keypoints[0, 0].tolist() == [1, 5, 2]
    with pytest.raises(ConfigurationError, match=r"c\.png: 31x40 px, but its annotations are for 40x30"):
        labelled[2]
    with pytest.raises(ConfigurationError, match="or say --other-sizes resize"):
        open_folder(tmp_path, files, annotations())[0]


def test_names_alone_decide_which_images_are_kept_apart(tmp_path: Path):
    names = [f"{number}.png" for number in range(60)]
    whole = open_folder(tmp_path, {name: png(9) for name in names}, annotations(names))

    def apart(images: LabelledImages, share: float, listed: frozenset[str] = frozenset()) -> set[str]:
        rest, kept = images.parted(share, listed)
        assert len(rest) + len(kept) == len(images)
        found = {record["file_name"] for record in kept.records}
        assert found.isdisjoint(record["file_name"] for record in rest.records)
        return found

    some, more = apart(whole, 0.2), apart(whole, 0.5)
    assert 4 <= len(some) <= 20
    assert some < more
    fewer = open_folder(tmp_path, {}, annotations(sorted(names)[::2]))
    assert apart(fewer, 0.2) == some & set(sorted(names)[::2])
    assert apart(whole, 0.0, frozenset({"7.png", "absent.png"})) == {"7.png"}
    assert apart(whole, 0.0) == set()


def test_images_of_several_sets_are_validated_as_one(tmp_path: Path):
    first = open_folder(tmp_path / "one", GOOD, annotations())
    second = open_folder(tmp_path / "two", {"d.png": png(77)}, annotations(["d.png"]))
    joined = LabelledImages.joined([first, second], limit=4)
    frames = Frames(joined)
    assert [int(frames[image_id][0, 0, 0]) for image_id in (1, 2, 3, 4)] == [10, 20, 30, 77]
    content = joined.annotation_file()
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert len({entry["id"] for entry in content["annotations"]}) == 4
    assert len(LabelledImages.joined([first, second], limit=2)) == 2


def test_a_missing_picture_does_not_take_the_persons_of_another_folders_namesake(tmp_path: Path, caplog):
    content = annotations(["a/1.png", "b/1.png", "2.png"])
    found = open_folder(tmp_path, {"b/1.png": png(20), "deep/2.png": png(30)}, content)

    assert [record["file_name"] for record in found.records] == ["b/1.png", "2.png"]
    assert [found[position].pixels[0, 0, 0] for position in range(2)] == [20, 30]
    assert "1 of 3 annotated images are missing" in caplog.text


def test_a_file_that_may_be_either_of_two_annotated_images_is_refused_with_both(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"1\.png: is it a/1\.png .* or b/1\.png"):
        open_folder(tmp_path, {"1.png": png(20)}, annotations(["a/1.png", "b/1.png"]))


def test_members_of_one_name_in_two_tars_are_refused_with_both(tmp_path: Path):
    write_folder(tmp_path, {}, annotations(["a.png"]))
    for number in range(2):
        (tmp_path / f"{number}.tar").write_bytes(make_tar({"a.png": GOOD["a.png"]}))
    with pytest.raises(ConfigurationError, match=r"a\.png is there twice, in .*0\.tar and in .*1\.tar"):
        LabelledImages.open(str(tmp_path), str(tmp_path / "labels.json"), COCO, Storage())


def with_swapped_sizes() -> dict[str, Any]:
    content = annotations()
    for image in content["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    return content


def test_width_and_height_that_are_swapped_as_in_crowdposes_files_are_said_once_and_harm_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    expected = open_folder(tmp_path / "right", GOOD, annotations())
    found = open_folder(tmp_path / "swapped", GOOD, with_swapped_sizes())
    for position in range(len(expected)):
        np.testing.assert_array_equal(found[position].pixels, expected[position].pixels)
        np.testing.assert_array_equal(found[position].keypoints, expected[position].keypoints)
    assert caplog.text.count("width and height are swapped") == 1


def test_an_image_that_its_exif_orientation_turns_is_not_taken_for_one_with_a_swapped_size(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    with Image.open(io.BytesIO(GOOD["a.png"])) as image:
        image.save(file, "PNG", exif=exif)
    with pytest.raises(ConfigurationError, match="or to another --exif rule than 'ignore'"):
        open_folder(tmp_path, GOOD | {"a.png": file.getvalue()}, with_swapped_sizes())[0]


def test_segments_that_are_none_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    content = annotations()
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": [[1, 2, 3, 4]]}
    content["annotations"][1] |= {"iscrowd": 1, "segmentation": {"size": [40, 30], "counts": [0, 1200]}}
    images = open_folder(tmp_path, GOOD, content)

    assert "2 segments are polygons of one or two points" in caplog.text
    assert images[0].ignored.any()
