"""A whole export of images whose names are longer than file systems and archives have them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from support.shards import make_tar
from support.standing import Standing, persons_in, picture

from jobs.annotate import main
from pipeline.storage import Storage

SEEDS = [seed for seed in range(40) if persons_in(picture(seed, 64)) > 0]
IN_TAR = [f"{'n' * 295}{end}" for end in ("a.png", "b.png")]
IN_FOLDERS = [f"{'d' * 224}/" * 4 + name for name in ("a.png", "b.png")]


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Of a run over two images of a tar with keys of 300 characters, and two below 900 bytes of folders."""
    keys = [*IN_TAR, *IN_FOLDERS]
    images = {key: picture(seed, 64) for key, seed in zip(keys, SEEDS, strict=False)}
    given = tmp_path / "in"
    (given / IN_FOLDERS[0]).parent.mkdir(parents=True)
    for key in IN_FOLDERS:
        (given / key).write_bytes(images[key])
    (given / "shard.tar").write_bytes(make_tar({key: images[key] for key in IN_TAR}, tarfile.PAX_FORMAT))
    standing = Standing(Storage(), str(given), str(tmp_path / "out"), {"min_score": 0.0})
    assert standing.sync().images == {"ok": 4}
    return standing.output_uri


def exported(output: str, export_format: str, to: Path, *more: str) -> list[Path]:
    """The files of an export that ended well."""
    assert main(["export", "--output", output, "--format", export_format, "--to", str(to), *more]) == 0
    return [path for path in to.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("export_format", "suffix"), [("overlays", ".jpg"), ("yolo", ".txt")])
def test_images_with_long_names_have_each_a_file_of_their_own(
    output: str, tmp_path: Path, export_format: str, suffix: str, capsys: pytest.CaptureFixture[str]
):
    for _ in range(2):
        found = [path for path in exported(output, export_format, tmp_path / "to") if path.suffix == suffix]
        assert f"{export_format}: 4 images" in capsys.readouterr().out
        # Each holds what is known of another image.
        assert len(found) == len({path.read_bytes() for path in found}) == 4
        assert all(path.stat().st_size > 0 for path in found)


def test_tasks_of_images_with_long_names_name_each_of_them_once(output: str, tmp_path: Path):
    config, tasks = sorted(exported(output, "label-studio", tmp_path / "to", "--image-root", "/unpacked"))
    assert config.name == "label_config.xml"
    data = [task["data"] for task in json.loads(tasks.read_text())]
    assert sorted(image["image_key"] for image in data) == sorted([*IN_TAR, *IN_FOLDERS])
    assert all(image["image"] == f"/unpacked/{image['image_key']}" for image in data)
