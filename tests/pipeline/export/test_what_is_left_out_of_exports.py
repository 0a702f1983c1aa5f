"""Which images and persons an export holds, under which names, and what it says of those it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.images import encode, gradient
from support.runs import metadata_of, usable, write_run
from support.shards import make_tar

from pipeline.export import EXPORT_FORMATS, ExportOptions, export_run
from pipeline.output.schema import ImageResult
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.poses import Poses
from posrefine.skeletons import COCO

JOINTS = COCO.num_joints
ROOT = ExportOptions(image_root="https://images.example/set")


@pytest.mark.parametrize("export_format", ["fiftyone", "label-studio"])
def test_images_in_shards_need_the_folder_where_they_were_unpacked(export_format: str, tmp_path: Path):
    (tmp_path / "shard.tar").write_bytes(make_tar({"a/1.jpg": encode(gradient())}))
    row = ImageResult(
        "a/1.jpg", 1, f"{tmp_path}/shard.tar#0", 48, 32, 1, None, ImageStatus.OK, None, Poses.none(JOINTS)
    )
    run = write_run(tmp_path / "run", [[row]])
    with pytest.raises(ConfigurationError, match="name the folder by --image-root"):
        export_run(run, export_format, str(tmp_path / "out"), Storage())
    options = ExportOptions(image_root="/unpacked")
    summary = export_run(run, export_format, str(tmp_path / "out"), Storage(), options)
    assert any("/unpacked/a/1.jpg" in Path(file).read_text() for file in summary.files)


@pytest.mark.parametrize("export_format", sorted(EXPORT_FORMATS))
@pytest.mark.parametrize("place", ["photographs", "photographs/drawn"])
def test_nothing_is_written_among_the_photographs_of_a_run(
    export_format: str, place: str, images: list[ImageResult], tmp_path: Path
):
    given = tmp_path / "photographs"
    metadata = metadata_of()
    settings = json.loads(metadata.settings) | {"input": str(given)}
    run = write_run(tmp_path / "run", [images], replace(metadata, settings=json.dumps(settings)))
    with pytest.raises(ConfigurationError, match=r"lies in the run's input .*/photographs.*another folder"):
        export_run(run, export_format, str(tmp_path / place), Storage(), ROOT)
    assert not given.exists()
    export_run(run, export_format, str(tmp_path / "photographs-drawn"), Storage(), ROOT)


@pytest.mark.parametrize("name", ["photo.jpg", "shard.tar", "rows.parquet"])
def test_nothing_is_written_beside_an_input_that_is_one_file(
    name: str, images: list[ImageResult], tmp_path: Path
):
    metadata = metadata_of()
    settings = json.loads(metadata.settings) | {"input": str(tmp_path / "photographs" / name)}
    run = write_run(tmp_path / "run", [images], replace(metadata, settings=json.dumps(settings)))
    given = tmp_path / "photographs" / name
    given.mkdir(parents=True)
    export_run(run, "overlays", str(tmp_path / "photographs"), Storage(), ROOT)
    given.rmdir()
    given.write_bytes(b"one file")
    with pytest.raises(ConfigurationError, match=r"lies in the run's input .*/photographs.*another folder"):
        export_run(run, "overlays", str(tmp_path / "photographs"), Storage(), ROOT)
    export_run(run, "overlays", str(tmp_path / "photographs" / "drawn"), Storage(), ROOT)


def test_persons_below_the_runs_least_score_are_left_out_and_counted_but_for_evaluators(
    images: list[ImageResult], tmp_path: Path
):
    run = write_run(tmp_path / "run", [images], metadata_of(min_score=0.6))
    everyone, sure = (sum(int((p.scores >= least).sum()) for _, p in usable(images)) for least in (-1, 0.6))
    assert 0 < sure < everyone
    for export_format in sorted(EXPORT_FORMATS):
        summary = export_run(run, export_format, str(tmp_path / export_format), Storage(), ROOT)
        if export_format == "coco-results":
            assert (summary.persons, summary.persons_below, summary.min_score) == (everyone, 0, None)
        else:
            assert (summary.persons, summary.persons_below) == (sure, everyone - sure)
            assert f"left out: {everyone - sure} persons below score 0.6" in list(summary.lines())
    given = replace(ROOT, min_score=0.0)
    assert export_run(run, "coco", str(tmp_path / "given"), Storage(), given).persons == everyone


@pytest.mark.parametrize("export_format", ["coco-results", "coco", "fiftyone", "overlays"])
def test_persons_with_scores_below_zero_are_exported_where_they_are_wanted(
    export_format: str, images: list[ImageResult], tmp_path: Path
):
    poses = images[0].poses
    assert poses is not None
    below = replace(poses, scores=poses.scores - 2, keypoint_scores=poses.keypoint_scores - 2)
    run = write_run(tmp_path / "run", [[replace(images[0], poses=below)]])
    wanted = ExportOptions(min_score=-3)
    summary = export_run(run, export_format, str(tmp_path / "out"), Storage(), wanted)
    assert summary.persons == len(poses) > 0
    if export_format == "overlays":
        before = np.asarray(Image.open(images[0].uri).convert("RGB"), int)
        drawn = np.asarray(Image.open(tmp_path / "out" / images[0].image_key), int)
        assert np.abs(drawn - before).max() > 100
    none = export_run(run, export_format, str(tmp_path / "out"), Storage(), ExportOptions(min_score=0))
    assert none.persons == 0


def test_persons_and_images_beyond_the_wanted_ones_stay_out(
    run: str, images: list[ImageResult], tmp_path: Path
):
    options = ExportOptions(min_score=0.5, max_images=4)
    summary = export_run(run, "coco-results", str(tmp_path), Storage(), options)
    first = usable(images)[:4]
    assert summary.images == 4
    assert summary.persons == sum(int((poses.scores >= 0.5).sum()) for _, poses in first)
    scores = [entry["score"] for entry in json.loads(Path(summary.files[0]).read_text())]
    assert len(scores) == summary.persons
    assert min(scores) >= 0.5


def test_keys_are_percent_encoded_in_web_addresses_and_left_alone_elsewhere(
    images: list[ImageResult], tmp_path: Path
):
    odd = "a b/100%41#1\\2.jpg"
    run = write_run(tmp_path / "run", [[replace(images[0], image_key=odd)]])
    for root, wanted in (
        ("https://h/set", "https://h/set/a%20b/100%2541%231%5C2.jpg"),
        ("s3://b/set", f"s3://b/set/{odd}"),
        ("/set", f"/set/{odd}"),
    ):
        options = ExportOptions(image_root=root)
        summary = export_run(run, "label-studio", str(tmp_path / "out"), Storage(), options)
        (task,) = json.loads(Path(summary.files[1]).read_text())
        assert task["data"] == {"image": wanted, "image_key": odd}
    export_run(run, "yolo", str(tmp_path / "yolo"), Storage())
    assert (tmp_path / "yolo" / "labels" / "a b" / "100%41#1\\2.txt").is_file()


def test_hostile_keys_stay_inside_the_output_and_shared_files_are_refused(
    images: list[ImageResult], tmp_path: Path
):
    hostile = ["../../escaped.jpg", "/etc/absolute.jpg", "a\\..\\b.jpg", ".."]
    rows = [replace(images[0], image_key=key) for key in hostile]
    run = write_run(tmp_path / "run", [rows])
    export_run(run, "yolo", str(tmp_path / "deep" / "out"), Storage())
    written = list(tmp_path.rglob("*.txt"))
    assert len(written) == len(hostile)
    assert all(path.is_relative_to(tmp_path / "deep" / "out" / "labels") for path in written)
    twins = [replace(images[0], image_key="a/1.jpg"), replace(images[0], image_key="a/1.png")]
    with pytest.raises(ConfigurationError, match=r"a/1\.png: another image"):
        export_run(write_run(tmp_path / "twins", [twins]), "yolo", str(tmp_path / "t"), Storage())


def test_keypoints_in_another_frame_than_the_tools_are_left_out(images: list[ImageResult], tmp_path: Path):
    rows = [replace(images[0], exif_orientation=6), images[4]]
    run = write_run(tmp_path / "run", [rows], metadata_of(exif="ignore"))
    for export_format, wanted in (("yolo", 1), ("coco-results", 2)):
        summary = export_run(run, export_format, str(tmp_path / export_format), Storage())
        assert summary.images == wanted


def test_an_unknown_format_is_refused_with_the_known_ones(run: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"yolo9000.*coco, coco-results, fiftyone"):
        export_run(run, "yolo9000", str(tmp_path), Storage())
