"""The command: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.annotated import annotated_people, image_rows, results_of, write_json, write_units
from support.coco_reference import read_json
from support.ports import free_port
from support.shared import shared_path

from jobs.evaluate import main
from pipeline.storage import Storage
from posrefine.skeletons import COCO


def command(tmp_path: Path, predictions: str | Path, annotations: str | Path, *more: str) -> int:
    return main(
        [
            *("--predictions", str(predictions), "--annotations", str(annotations), "--protocol", "coco"),
            *("--output", str(tmp_path / "out"), "--draws", "20", "--no-distributed", *more),
        ]
    )


def submit(tmp_path: Path, predictions: str | Path, annotations: str | Path, name: str) -> int:
    files = ("--predictions", str(predictions), "--annotations", str(annotations))
    return main(["test-dev", *files, "--output", str(tmp_path / "out"), "--name", name])


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, str, dict[str, Any]]:
    """A run over made-up images, and their annotations."""
    annotations = annotated_people(20)
    write_units(tmp_path / "run", [image_rows(annotations, results_of(annotations))], skeleton=COCO)
    return tmp_path / "run", write_json(tmp_path / "annotations.json", annotations), annotations


def test_the_official_coco_example_gives_the_official_numbers_beside_the_published_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_path("data", "oracle", "coco_val2014_100")

    code = command(
        tmp_path,
        folder / "dt_fakekeypoints100_results.json",
        folder / "gt_person_keypoints_val2014_100.json",
        *("--model", "dekr_w32"),
    )

    printed, expected = capsys.readouterr().out, read_json(folder / "expected.json")
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert code == 0
    assert [metrics[name] for name in expected["order"]] == expected["full_precision"]
    official = [
        line
        for line in (folder / "official_val2014_fake_eval_res.txt").read_text().splitlines()
        if "maxDets= 20" in line
    ]
    assert [line.split() for line in printed.splitlines() if "maxDets= 20" in line] == [
        line.split() for line in official
    ]
    assert "not measured here" in printed
    assert "0.673" in printed


def test_a_run_is_scored_and_its_results_file_scores_the_same(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]]
) -> None:
    output, annotations, _ = run
    assert command(tmp_path, output, annotations) == 0
    first = read_json(tmp_path / "out" / "metrics.json")

    assert command(tmp_path, tmp_path / "out" / "results.json", annotations) == 0

    second = read_json(tmp_path / "out" / "metrics.json")
    same = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl", "detections", "diagnosis")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert first["model"] == "dekr_w32"


def test_numbers_only_leaves_the_rest_out(tmp_path: Path, run: tuple[Path, str, dict[str, Any]]) -> None:
    output, annotations, _ = run

    assert command(tmp_path, output, annotations, "--numbers-only", "--no-results") == 0

    assert read_json(tmp_path / "out" / "metrics.json")["diagnosis"] is None
    assert not (tmp_path / "out" / "results.json").exists()


def test_prometheus_finds_the_numbers_in_a_file_and_a_gateway_that_is_away_spoils_nothing(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    output, annotations, _ = run
    gateway = f"http://127.0.0.1:{free_port()}"

    assert command(tmp_path, output, annotations, "--numbers-only", "--pushgateway", gateway) == 0

    expected = read_json(tmp_path / "out" / "metrics.json")["AP"]
    families = text_string_to_metric_families((tmp_path / "out" / "metrics.prom").read_text())
    found = [
        sample for family in families for sample in family.samples if sample.labels.get("number") == "AP"
    ]
    assert [sample.value for sample in found] == [expected]
    assert f"the numbers were not pushed to {gateway}" in caplog.text


def test_two_runs_are_compared(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, annotations, made = run
    worse = write_json(tmp_path / "worse.json", results_of(made, noise_px=12.0))

    assert command(tmp_path, output, annotations, "--compare", worse) == 0

    assert "paired bootstrap" in capsys.readouterr().out
    found = read_json(tmp_path / "out" / "metrics.json")["comparison"]["differences"]["AP"]
    assert found["difference"] == pytest.approx(found["this"] - found["other"])
    assert found["difference"] > 0


def test_warnings_are_printed_and_with_strict_nothing_is_written(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, _, made = run
    made["images"].append({"id": 99, "file_name": "99.jpg", "width": 640, "height": 480})
    annotations = write_json(tmp_path / "more.json", made)

    assert command(tmp_path, output, annotations, "--strict") == 2
    assert not (tmp_path / "out").exists()
    assert command(tmp_path, output, annotations) == 0
    printed = capsys.readouterr()
    assert "warning: images_missing: 1" in printed.out
    assert "--strict" in printed.err


@pytest.mark.parametrize("content", ["[]", '{"images": []}', "{", '[{"image_id": 1}]'])
def test_bad_files_end_with_code_2_and_a_reason(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text(content)

    assert command(tmp_path, tmp_path / "bad.json", tmp_path / "bad.json") == 2
    assert "bad.json" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["annotations", "results"])
def test_a_missing_file_ends_with_code_2_and_its_name(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]], gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.json"
    files = (
        {"predictions": run[0], "annotations": missing}
        if gone == "annotations"
        else {"predictions": missing, "annotations": run[1]}
    )
    assert command(tmp_path, **files) == 2
    assert "none.json: there is no such file" in capsys.readouterr().err


def test_a_small_evaluation_waits_for_neither_torch_nor_ray() -> None:
    check = "import sys, jobs.evaluate; print(sorted({'torch', 'ray'} & sys.modules.keys()))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_options_end_with_code_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        command(tmp_path, "a.json", "b.json", "--protocol", "mpii")
    assert ended.value.code == 2


@pytest.mark.parametrize("option", [("--draws", "0"), ("--draws", "1.5"), ("--seed", "-1")])
def test_numbers_that_the_bootstrap_cannot_use_end_with_code_2_and_what_to_give(
    tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "a.json", "b.json", *option) == 2
    said = capsys.readouterr().err
    assert f"setting {option[0].removeprefix('--')}: '{option[1]}' will not do: Input should be" in said


def test_settings_of_an_evaluation_come_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSREFINE_SEED", "-1")
    assert command(tmp_path, "a.json", "b.json") == 2
    monkeypatch.delenv("POSREFINE_SEED")
    monkeypatch.setenv("POSREFINE_DRAW", "10")
    assert command(tmp_path, "a.json", "b.json") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "setting seed: '-1' will not do" in first
    assert "POSREFINE_DRAW" in second
    assert "POSREFINE_DRAWS" in second


def test_score_is_what_is_done_where_no_command_is_named(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]]
) -> None:
    files = ("--predictions", str(run[0]), "--annotations", run[1], "--protocol", "coco")
    for name, named in (("a", ["score"]), ("b", [])):
        assert main([*named, *files, "--output", str(tmp_path / name), "--numbers-only"]) == 0
    first, second = (read_json(tmp_path / name / "metrics.json") for name in "ab")
    assert first["AP"] == second["AP"]


@pytest.mark.parametrize(
    "before", [["--log-format", "json"], ["--log-format=json"], ["-v", "--log-format", "text"]]
)
@pytest.mark.parametrize("command", [["score"], []])
def test_options_of_the_log_may_stand_before_the_command(
    before: list[str], command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--predictions", "a", "--annotations", str(tmp_path / "none.json"), "--protocol", "coco")
    assert main([*before, *command, *files, "--output", str(tmp_path / "out")]) == 2
    assert "none.json: there is no such file" in capsys.readouterr().err


def test_what_test_dev_would_ignore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "test-dev",
                "--predictions",
                "a",
                "--annotations",
                "b",
                "--output",
                "c",
                "--name",
                "x",
                "--report",
            ]
        )
    assert ended.value.code == 2


def test_test_dev_gives_the_archive_that_the_server_wants(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, _, made = run
    listing = {
        **made,
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
    }

    assert submit(tmp_path, output, write_json(tmp_path / "info.json", listing), "DEKR-w32") == 0

    base = "person_keypoints_test-dev2017_DEKR-w32_results"
    with zipfile.ZipFile(tmp_path / "out" / f"{base}.zip") as archive:
        assert archive.namelist() == [f"{base}.json"]
        entries = json.loads(archive.read(f"{base}.json"))
    assert len(entries) == len(results_of(made))
    assert set(entries[0]) == {"image_id", "category_id", "keypoints", "score"}
    assert len(entries[0]["keypoints"]) == 51
    assert "upload" in capsys.readouterr().out


def test_a_test_dev_name_that_breaks_the_file_name_is_refused(
    tmp_path: Path, run: tuple[Path, str, dict[str, Any]]
) -> None:
    assert submit(tmp_path, run[0], run[1], "my/net") == 2
    assert not Storage().exists(str(tmp_path / "out" / "metrics.json"))
