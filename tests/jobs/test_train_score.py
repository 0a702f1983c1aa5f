from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.annotated import annotated_people
from support.runs import metadata_of, noisy_predictions, write_run

from jobs.train_score import main
from pipeline.output.schema import TableMetadata
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
    network = ScoreNet(COCO)
    info = load_weights(network, tmp_path / "score.safetensors")
    assert network.size.weight.any()
    persons = sum(len(result.poses) for result in results)
    assert f"{persons} poses of {run}" in info.metadata["data"]
    assert f"learnt from {persons} poses" in capsys.readouterr().out


def test_what_is_said_of_a_runs_network_is_said_of_what_its_poses_taught(annotations: Path, tmp_path: Path):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    metadata = of_protocol("posrefine", note="rendered people alone")
    run = write_run(tmp_path / "run", [results], metadata)
    output = tmp_path / "score.safetensors"
    assert main([*arguments(run, annotations, output), "--licence", "Apache-2.0"]) == 0
    info = load_weights(ScoreNet(COCO), output)
    assert (info.note, info.protocol, info.licence) == ("rendered people alone", "posrefine", "Apache-2.0")


def test_several_runs_of_one_network_teach_together(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    runs = [write_run(tmp_path / name, [results]) for name in ("one-scale", "three-scales")]
    output = tmp_path / "score.safetensors"
    assert main([*arguments(runs[0], annotations, output), "--run", *runs]) == 0
    persons = sum(len(result.poses) for result in results)
    assert (
        f"{2 * persons} poses of {runs[0]}, {runs[1]}"
        in load_weights(ScoreNet(COCO), output).metadata["data"]
    )


def test_runs_over_several_data_sets_are_judged_each_by_its_own_annotations(tmp_path: Path, capsys):
    files, runs, persons = [], [], []
    for seed in (2, 3):
        people = annotated_people(20, seed=seed)
        files.append(tmp_path / f"labels{seed}.json")
        files[-1].write_text(json.dumps(people))
        results = noisy_predictions(people, tmp_path)
        runs.append(write_run(tmp_path / f"run{seed}", [results]))
        persons.append(sum(len(result.poses) for result in results))
    output = tmp_path / "score.safetensors"
    both = ["--run", *runs, "--annotations", *map(str, files), "--output", str(output), "--batch-size", "8"]
    assert main(both) == 0
    said = load_weights(ScoreNet(COCO), output).metadata["data"]
    assert said == f"{sum(persons)} poses of {', '.join(runs)}, judged by {', '.join(map(str, files))}"

    # By each other's annotations nearly all poses are near nobody, which is soon learnt.
    own = float(capsys.readouterr().out.partition("off by ")[2].split()[0])
    assert main([*both[:3], "--annotations", *map(str, files[::-1]), *both[6:]]) == 0
    others = float(capsys.readouterr().out.partition("off by ")[2].split()[0])
    assert others < 0.02 < own

    assert main([*both[:3], runs[0], *both[3:]]) == 2
    assert "--annotations names 2 files for 3 runs: give one for all, or one for each" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("files", [1, 2])
def test_two_images_that_end_like_one_name_are_refused_with_both_however_a_run_is_cut(
    annotations: Path, tmp_path: Path, capsys, files: int
):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    first = replace(results[0], image_id=None, image_key=f"a/{results[0].image_key}")
    second = replace(first, image_key=f"b/{results[0].image_key}", uri=f"{first.uri}-b")
    rest = [replace(result, image_id=None) for result in results[1:]]
    cut = [[first, second, *rest]] if files == 1 else [[first, *rest], [second]]
    run = write_run(tmp_path / "run", cut)
    assert main(arguments(run, annotations, tmp_path / "score.safetensors")) == 2
    said = capsys.readouterr().err
    assert f"images {first.image_key} and {second.image_key}: which of them is image" in said


def test_runs_of_different_networks_are_refused(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    one = write_run(tmp_path / "one", [results])
    other = write_run(tmp_path / "other", [results], replace(metadata_of(), weights_sha256="1" * 64))
    assert main([*arguments(one, annotations, tmp_path / "score.safetensors"), "--run", one, other]) == 2
    assert f"{other} is of weights 11111111" in capsys.readouterr().err


def test_a_run_with_rescored_poses_is_refused(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    metadata = metadata_of()
    settings = json.dumps(json.loads(metadata.settings) | {"score_weights_sha256": "2" * 64})
    run = write_run(tmp_path / "run", [results], replace(metadata, settings=settings))
    assert main(arguments(run, annotations, tmp_path / "score.safetensors")) == 2
    assert "annotate the images without --score-weights" in capsys.readouterr().err


def of_protocol(name: str, *, note: str) -> TableMetadata:
    metadata = metadata_of(note=note)
    return replace(metadata, settings=json.dumps(json.loads(metadata.settings) | {"protocol": name}))


def test_a_run_of_another_skeleton_is_refused(annotations: Path, tmp_path: Path, capsys):
    results = noisy_predictions(json.loads(annotations.read_text()), tmp_path)
    run = write_run(tmp_path / "run", [results], metadata_of(CROWDPOSE))
    assert main(arguments(run, annotations, tmp_path / "score.safetensors")) == 2
    assert "the run's skeleton is crowdpose" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(annotations: Path, tmp_path: Path, capsys):
    assert main(arguments(str(tmp_path), annotations, tmp_path / "score.safetensors")) == 2
    assert "name the output of a run" in capsys.readouterr().err
