"""One line of shell from photographs to persons."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from PIL import Image

import posrefine
from pipeline.settings.base import Device
from posrefine.command.main import main
from posrefine.synthetic import EASY, render_scene


@pytest.fixture(scope="module")
def scene():
    return render_scene(8_000_001, EASY).image


@pytest.fixture
def photographs(scene, tmp_path):
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    Image.fromarray(scene).save(folder / "a.png")
    Image.fromarray(scene[:, ::-1]).save(folder / "inside" / "a.jpg", quality=95)
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.png").write_bytes(b"what macOS leaves beside a photograph")
    return folder


def test_it_says_who_is_in_each_photograph_writes_json_and_draws(photographs, scene, tmp_path, capsys):
    drawn, out = tmp_path / "drawn", tmp_path / "poses.json"
    command = ["predict", str(photographs), "--device", "cpu", "--min-score", "0.2"]
    assert main([*command, "--json", str(out), "--draw", str(drawn)]) == 0
    everyone = posrefine.load("posrefine:tiny_coco", device="cpu")(scene)
    expected = everyone.filter(min_score=0.2)
    below = len(everyone) - len(expected)
    assert below > 0
    said = capsys.readouterr()
    scores = ", ".join(f"{score:.2f}" for score in expected.scores)
    persons = "1 person" if len(expected) == 1 else f"{len(expected)} persons"
    assert f"{photographs / 'a.png'}: {persons}, scores {scores}; {below} more below 0.2\n" in said.out
    assert "rendered people" in said.err
    found = json.loads(out.read_text())
    assert (found["weights"], found["protocol"], found["input_size"]) == (
        "posrefine:tiny_coco",
        "posrefine",
        256,
    )
    assert tuple(found["joints"]) == posrefine.COCO.joints
    first, second = found["images"]
    assert (first["image"], second["image"]) == (f"{photographs}/a.png", f"{photographs}/inside/a.jpg")
    assert (first["height"], first["width"]) == scene.shape[:2]
    assert first["persons"] == expected.to_dict()["persons"]
    assert (found["min_score"], first["persons_below"]) == (0.2, below)
    with Image.open(drawn / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected.draw(scene)))
    assert (drawn / "inside" / "a.jpg").exists()


def test_a_photograph_that_cannot_be_used_costs_no_other_and_ends_with_3(photographs, capsys):
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    named = [str(photographs / name) for name in ("broken.jpg", "gone.jpg", "a.png")]
    assert main(["predict", *named, "--device", "cpu", "--json", "-"]) == 3
    said = capsys.readouterr()
    rows = json.loads(said.out)["images"]
    assert [row["status"] for row in rows[1:]] == ["missing", "ok"]
    assert rows[0]["status"] != "ok"
    assert "gone.jpg: missing: " in said.err
    assert rows[2]["persons"]


def test_scales_and_rescoring_are_the_callers_choice(photographs, scene, capsys):
    photo = str(photographs / "a.png")
    chosen = ["--scales", "1,2", "--no-rescore", "--min-score", "0"]
    assert main(["predict", photo, "--device", "cpu", "--json", "-", *chosen]) == 0
    found = json.loads(capsys.readouterr().out)
    predictor = posrefine.load("posrefine:tiny_coco", rescore=False, device="cpu", scales=(1, 2))
    assert sorted(found["scales"]) == [1, 2]
    assert found["images"][0]["persons"] == predictor(scene).to_dict()["persons"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "nothing.pth"], "weights nothing.pth: cannot be read"),
        (["--scales", "0.5"], "with 1 among them"),
        (["--min-score", "nan"], "--min-score nan: expected a number"),
        (["--json", "nowhere/poses.json"], "--json nowhere/poses.json: its folder does not exist"),
    ],
)
def test_what_cannot_work_ends_with_2_and_says_why(photographs, capsys, arguments, message):
    assert main(["predict", str(photographs / "a.png"), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("posrefine: error: ")
    assert message in said


def test_an_option_that_is_cut_short_is_no_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "photo.png", "--min-scor", "0.5"])
    assert ended.value.code == 2
    assert "--min-scor" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["abacus", "cuda:1", "meta"])
def test_devices_are_those_of_every_job(capsys, device):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "photo.png", "--device", device])
    assert ended.value.code == 2
    assert device in capsys.readouterr().err
    assert get_args(Device) == ("auto", "cpu", "cuda")


def test_a_folder_without_images_is_an_error(tmp_path, capsys):
    assert main(["predict", str(tmp_path)]) == 2
    assert "holds no images" in capsys.readouterr().err


def test_drawings_never_replace_the_photographs(photographs, capsys):
    before = (photographs / "a.png").read_bytes()
    for named in ([str(photographs)], [str(photographs / "a.png")]):
        assert main(["predict", *named, "--draw", str(photographs)]) == 2
        assert "would overwrite" in capsys.readouterr().err
    assert (photographs / "a.png").read_bytes() == before


def test_drawings_stay_below_their_folder_wherever_the_photographs_lie(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(photographs / "inside")
    assert (
        main(["predict", "../a.png", "a.jpg", "--device", "cpu", "--draw", str(tmp_path / "out/drawn")]) == 0
    )
    drawn = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*.*"))
    assert drawn == ["out/drawn/a.png", "out/drawn/inside/a.jpg"]


def test_ctrl_c_ends_with_75(photographs, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("posrefine.command.predict.load", interrupted)
    assert main(["predict", str(photographs / "a.png")]) == 75
    assert "interrupted" in capsys.readouterr().err
