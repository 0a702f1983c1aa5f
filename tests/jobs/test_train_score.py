from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.annotated import annotated_people
from support.runs import metadata_of, noisy_predictions, write_run

from jobs.train_score import main
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.weights import load_weights


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(annotated_people(30, seed=2)))
    return path


def arguments(run: str, annotations: Path, output: Path) -> list[str]:
    return ["--run", run, "--annotations", str(annotations), "--output", str(output), "--batch-size", "8"]


def test_a_run_becomes_a_rescoring_network_that_predicts_its_oks(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    run = write_run(tmp_path / "run", [results[:15], results[15:]])
    assert main(arguments(run, annotations, tmp_path / "score.safetensors")) == 0
    info = load_weights(ScoreNet(COCO), tmp_path / "score.safetensors")
    persons = sum(len(result.poses) for result in results)
    assert f"{persons} poses of {run}" in info.metadata["data"]
    assert f"learnt from {persons} poses" in capsys.readouterr().out


def test_a_run_of_another_skeleton_is_refused(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    run = write_run(tmp_path / "run", [results], metadata_of(CROWDPOSE))
    assert main(arguments(run, annotations, tmp_path / "score.safetensors")) == 2
    assert "the run's skeleton is crowdpose" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(annotations: Path, tmp_path: Path, capsys):
    assert main(arguments(str(tmp_path), annotations, tmp_path / "score.safetensors")) == 2
    assert "name the output of an annotate run" in capsys.readouterr().err
