from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image
from pycocotools import coco
from support.s3 import Bucket, S3Server

from jobs.pack import main


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
    assert code == 1
    assert "b.png" in capsys.readouterr().err
    assert not (tmp_path / "out/annotations.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "photos"], "--images and --annotations belong together"),
        (["--synthetic", "3", "--annotations", "x.json"], "belong together"),
        (["--synthetic", "0"], "above 0"),
        ([], "--synthetic --images is required"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        main(["--output", str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_names_that_would_share_a_key_are_refused(tmp_path, capsys):
    file = make_folder(tmp_path, ["a.png", "a.jpg"])
    code = main(["--output", str(tmp_path / "out"), "--images", str(tmp_path / "images"),
                 "--annotations", str(file)])  # fmt: skip
    assert code == 2
    assert "such as a; rename them" in capsys.readouterr().err


def test_impossible_scenes_are_refused(tmp_path, capsys):
    code = main(["--output", str(tmp_path), "--synthetic", "1", "--people", "1", "--scenes", "hard"])
    assert code == 2
    assert "ask for at least 2 people" in capsys.readouterr().err
