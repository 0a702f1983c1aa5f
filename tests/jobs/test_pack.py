from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import coco
from support.s3 import Bucket, S3Server
from webdataset.tariterators import base_plus_ext, group_by_keys, tar_file_expander

from jobs.pack import main
from pipeline.packing.sources import shard_name


@pytest.fixture(scope="module", autouse=True)
def cluster(s3_server: S3Server) -> Iterator[None]:
    environment = {"env_vars": s3_server.environment()}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


def members(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {entry.name: opened.extractfile(entry).read() for entry in opened.getmembers()}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_folder(folder: Path, names: list[str]) -> Path:
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 12, 3), number * 9, np.uint8)).save(path)
        images.append({"id": number, "file_name": name, "width": 12, "height": 8})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 4, 4]})
    file = folder / "labels.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    file.write_text(json.dumps(content | {"info": {"description": "mine"}}))
    return file


def test_scenes_become_shards_with_their_persons_beside_every_image(tmp_path, capsys):
    assert main(["--output", str(tmp_path), "--synthetic", "5", "--shard-images", "2", "--people", "1-2"
                 , "--scenes", "easy"]) == 0  # fmt: skip
    shards = [members((tmp_path / f"shards/0000{n}.tar").read_bytes()) for n in range(3)]
    assert [len(shard) for shard in shards] == [4, 4, 2]
    labels = json.loads(shards[1]["000000000003.json"])
    image = np.asarray(Image.open(io.BytesIO(shards[1]["000000000003.jpg"])))
    assert image.shape == (labels["image"]["height"], labels["image"]["width"], 3)
    assert 1 <= len(labels["annotations"]) <= 2
    assert len(labels["annotations"][0]["keypoints"]) == 51
    assert "packed 5 images" in capsys.readouterr().out


def test_a_relative_output_is_below_the_folder_of_the_command_wherever_workers_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--output", "data", "--synthetic", "1", "--people", "1-1", "--scenes", "easy"]) == 0
    assert files_below(tmp_path).keys() == {"data/shards/00000.tar", "data/annotations.json"}


def test_the_annotation_file_holds_what_the_shards_hold_and_pycocotools_reads_it(tmp_path):
    assert main(["--output", str(tmp_path), "--synthetic", "3", "--seed", "70", "--shard-images", "2"]) == 0
    truth = coco.COCO(str(tmp_path / "annotations.json"))
    inside = [json.loads(data) for shard in sorted((tmp_path / "shards").iterdir())
              for name, data in members(shard.read_bytes()).items() if name.endswith(".json")]  # fmt: skip
    assert [label["image"]["id"] for label in inside] == truth.getImgIds() == [71, 72, 73]
    packed = [record for label in inside for record in label["annotations"]]
    assert truth.loadAnns(truth.getAnnIds()) == packed
    assert len({record["id"] for record in packed}) == len(packed)


def test_packing_again_or_into_shards_of_another_size_gives_the_same_images(tmp_path):
    for name, size in (("a", "2"), ("b", "2"), ("c", "3")):
        assert main(["--output", str(tmp_path / name), "--synthetic", "3", "--shard-images", size]) == 0
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    assert (tmp_path / "a/annotations.json").read_bytes() == (tmp_path / "c/annotations.json").read_bytes()
    assert (
        members((tmp_path / "a/shards/00000.tar").read_bytes()).items()
        <= members((tmp_path / "c/shards/00000.tar").read_bytes()).items()
    )


def test_crowdpose_scenes_carry_its_joints_and_crowd_index(tmp_path):
    assert main(["--output", str(tmp_path), "--synthetic", "1", "--skeleton", "crowdpose"]) == 0
    content = json.loads((tmp_path / "annotations.json").read_bytes())
    assert "crowdIndex" in content["images"][0]
    assert len(content["annotations"][0]["keypoints"]) == 42


def test_a_folder_is_packed_byte_for_byte_into_s3(tmp_path, s3_bucket: Bucket):
    file = make_folder(tmp_path, ["a.png", "deep/b.png", "c.png"])
    code = main(["--output", f"{s3_bucket.uri}/packed", "--images", str(tmp_path / "images"),
                 "--annotations", str(file), "--shard-images", "2"])  # fmt: skip
    assert code == 0
    assert s3_bucket.keys() == [
        "packed/annotations.json",
        "packed/shards/00000.tar",
        "packed/shards/00001.tar",
    ]
    first = members(s3_bucket.read("packed/shards/00000.tar"))
    assert list(first) == ["a.png", "a.json", "deep/b.png", "deep/b.json"]
    assert first["deep/b.png"] == (tmp_path / "images/deep/b.png").read_bytes()
    assert json.loads(s3_bucket.read("packed/annotations.json"))["info"] == {"description": "mine"}


def test_a_missing_image_stops_with_its_name(tmp_path, capsys):
    file = make_folder(tmp_path, ["a.png", "b.png"])
    (tmp_path / "images/b.png").unlink()
    code = main(["--output", str(tmp_path / "out"), "--images", str(tmp_path / "images"),
                 "--annotations", str(file)])  # fmt: skip
    assert code == 2
    assert "b.png" in capsys.readouterr().err
    assert not (tmp_path / "out/annotations.json").exists()


def test_images_are_found_by_the_end_of_their_path_and_never_in_another_folder(tmp_path, capsys):
    file = make_folder(tmp_path, ["val/a.png", "b.png"])
    command = ["--output", str(tmp_path / "out"), "--annotations", str(file), "--images"]

    assert main([*command, str(tmp_path / "images/val")]) == 2
    assert "b.png" in capsys.readouterr().err
    (tmp_path / "images/b.png").rename(tmp_path / "images/val/b.png")
    assert main([*command, str(tmp_path / "images/val")]) == 0
    (tmp_path / "images/val").rename(tmp_path / "images/train")
    assert main([*command, str(tmp_path / "images")]) == 2
    assert "val/a.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "photos"], "--images and --annotations belong together"),
        (["--synthetic", "3", "--annotations", "x.json"], "belong together"),
        (["--synthetic", "0"], "synthetic: '0' will not do"),
        (["--synthetic", "3", "--people", "many"], "people: 'many' will not do"),
        ([], "give either --images with --annotations, or --synthetic"),
        (["--images", "a", "--annotations", "b", "--synthetic", "1"], "give either"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, capsys, arguments, words):
    assert main(["--output", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_names_that_would_share_a_key_are_refused(tmp_path, capsys):
    file = make_folder(tmp_path, ["a.png", "a.jpg"])
    code = main(["--output", str(tmp_path / "out"), "--images", str(tmp_path / "images"),
                 "--annotations", str(file)])  # fmt: skip
    assert code == 2
    assert "such as a; rename them" in capsys.readouterr().err


def test_names_with_dots_stay_samples_of_their_own_for_webdataset(tmp_path):
    names = ["clip.0001.jpg", "clip.0002.jpg", "v1.5/clip.0001.jpg", "100%.jpg", "plain.jpg"]
    file = make_folder(tmp_path, names)
    assert main(["--output", str(tmp_path / "out"), "--images", str(tmp_path / "images"),
                 "--annotations", str(file)]) == 0  # fmt: skip
    shard = tmp_path / "out/shards/00000.tar"

    with shard.open("rb") as stream:
        samples = list(group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}])))

    assert len(samples) == len(names)
    for name, sample in zip(names, samples, strict=True):
        assert unquote(f"{sample['__key__']}.jpg") == name
        assert sample["jpg"] == (tmp_path / "images" / name).read_bytes()
        labels = json.loads(sample["json"])
        assert labels["image"]["file_name"] == f"{sample['__key__']}.jpg"
        assert labels["annotations"][0]["image_id"] == labels["image"]["id"]
    listed = json.loads((tmp_path / "out/annotations.json").read_bytes())["images"]
    assert [f"{sample['__key__']}.jpg" for sample in samples] == [image["file_name"] for image in listed]


_STEMS = st.text("ab.%2E-", min_size=1, max_size=8)


@given(st.lists(_STEMS, min_size=2, max_size=6, unique=True))
def test_every_file_name_has_its_own_key_and_comes_back_from_it(stems):
    names = [f"dir.a/{stem}.jpg" for stem in stems]
    keys = [base_plus_ext(shard_name(name)) for name in names]
    assert len(set(keys)) == len(names)
    assert all(suffix == "jpg" for _, suffix in keys)
    assert [unquote(f"{key}.{suffix}") for key, suffix in keys] == names


@pytest.mark.parametrize("name", ["photo", ".jpg", "a/.png", "photo."])
def test_a_file_without_name_or_suffix_cannot_be_packed(tmp_path, capsys, name):
    file = make_folder(tmp_path, ["a.png"])
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = name
    file.write_text(json.dumps(content))
    code = main(["--output", str(tmp_path / "out"), "--images", str(tmp_path / "images"),
                 "--annotations", str(file)])  # fmt: skip
    assert code == 2
    assert f"{name!r} has no name and suffix" in capsys.readouterr().err


def test_of_crowded_scenes_the_people_asked_for_are_two_at_least(tmp_path):
    assert main(["--output", str(tmp_path), "--synthetic", "6", "--people", "1-3"]) == 0
    people = Counter(
        person["image_id"]
        for person in json.loads((tmp_path / "annotations.json").read_text())["annotations"]
    )
    assert len(people) == 6
    _easy, medium, hard = (list(people.values())[start::3] for start in range(3))
    assert all(2 <= count <= 3 for count in (*medium, *hard))


def test_impossible_scenes_are_refused(tmp_path, capsys):
    code = main(["--output", str(tmp_path), "--synthetic", "1", "--people", "1", "--scenes", "hard"])
    assert code == 2
    assert "ask for at least 2 people" in capsys.readouterr().err
