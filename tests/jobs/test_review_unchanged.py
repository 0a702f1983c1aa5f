"""Tasks that nobody opened are not people's word: `review.py import` tells them apart."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.standing import Standing, persons_in, picture

from jobs import review
from pipeline.output.schema import MODEL
from pipeline.storage import Storage

PICTURES = [data for data in (picture(seed, 512) for seed in range(40)) if persons_in(data)][:4]


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    (tmp_path / "in").mkdir()
    for number, data in enumerate(PICTURES):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"), {"min_score": 0.0})
    standing.sync()
    return standing


@pytest.fixture
def said(standing: Standing, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command on the output; what it says."""

    def run(command: str, *arguments: str) -> str:
        assert review.main([command, *arguments, "--output", standing.output_uri]) == 0, capsys.readouterr()
        return capsys.readouterr().out

    return run


def tasks_for(tool: str, said: Callable[..., str], folder: Path) -> Path:
    said("select", "--budget", "4")
    said("export", "--tool", tool, "--to", str(folder), "--reviewers", "ann")
    (path,) = folder.glob("ann.*")
    return path


def sources(standing: Standing) -> list[str]:
    return sorted({image.source for image in standing.output.images()})


@pytest.mark.parametrize("tool", ["cvat", "fiftyone", "coco"])
def test_tasks_that_nobody_opened_are_left_aside_until_somebody_says_that_they_were_looked_at(
    tool: str, standing: Standing, said: Callable[..., str], tmp_path: Path
):
    file = tasks_for(tool, said, tmp_path / "tasks")
    told = said("import", str(file))
    assert "unchanged 4 images" in told
    assert "left aside" in told
    assert "0 reviewed" in told
    assert sources(standing) == [MODEL]
    told = said("import", str(file), "--unchanged-is-reviewed")
    assert "unchanged 4 images" in told
    assert "taken as reviewed" in told
    assert f"0 confirmed, 0 moved, 0 added, 0 removed, {sum(map(persons_in, PICTURES))} unchanged" in told
    assert sources(standing) == ["ann"]


def marked_in_cvat(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        content = archive.read(name).decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content.replace('"reviewed">false', '"reviewed">true', 1))


def edited_in_cvat(path: Path) -> None:
    """As CVAT writes a shape that somebody took hold of, and put back."""
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        content = archive.read(name).decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content.replace('source="auto"', 'source="semi-auto"', 1))


def marked_in_fiftyone(path: Path) -> None:
    first, *others = map(json.loads, path.read_text().splitlines())
    first["tags"] = ["reviewed"]
    path.write_text("\n".join(map(json.dumps, [first, *others])))


def moved_in_coco(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        content = json.loads(archive.read(name))
    person = content["annotations"][0]
    joint = next(joint for joint in range(17) if person["keypoints"][3 * joint + 2])
    person["keypoints"][3 * joint] += 0.25
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, json.dumps(content))


@pytest.mark.parametrize(
    ("tool", "touch"),
    [
        ("cvat", marked_in_cvat),
        ("cvat", edited_in_cvat),
        ("fiftyone", marked_in_fiftyone),
        ("coco", moved_in_coco),
    ],
)
def test_what_was_marked_or_touched_counts_and_the_rest_does_not(
    tool: str, touch: Callable[[Path], None], standing: Standing, said: Callable[..., str], tmp_path: Path
):
    file = tasks_for(tool, said, tmp_path / "tasks")
    touch(file)
    told = said("import", str(file))
    assert "unchanged 3 images" in told
    assert "1 reviewed" in told
    assert "0 moved, 0 added, 0 removed" in told
    assert sources(standing) == ["ann", MODEL]


def test_who_submits_in_label_studio_has_looked(standing: Standing, said: Callable[..., str], tmp_path: Path):
    file = tasks_for("label-studio", said, tmp_path / "tasks")
    tasks = json.loads(file.read_text())
    for number, task in enumerate(tasks):
        submitted = {"id": number, "completed_by": 1, "result": task["predictions"][0]["result"]}
        task["annotations"] = [submitted] if number else []
    file.write_text(json.dumps(tasks))
    told = said("import", str(file))
    assert "unchanged" not in told
    assert "3 reviewed" in told
    assert sources(standing) == ["ann", MODEL]
