"""The scripts that train and score the small network do what they say, once, and mix no two settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ablation
import pytest
import torch
from PIL import Image

from posrefine import COCO, build_model, save_weights
from posrefine.modeling.score_net import ScoreNet
from posrefine.synthetic import coco_annotations, render_scenes

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = ["plain", "+ DCM", "+ HSM", "+ DCM + HSM"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of them, of which the name of the second one, 000000000011.jpg, keeps it apart."""
    folder = tmp_path_factory.mktemp("photographs")
    scenes = list(render_scenes(3, first_seed=1))
    content = coco_annotations(scenes, COCO, first_image_id=10)
    (folder / "images").mkdir()
    for record, scene in zip(content["images"], scenes, strict=True):
        Image.fromarray(scene.image).save(folder / "images" / record["file_name"])
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of the whole network, as those are that the start is filled from."""
    save_weights(build_model("posrefine_tiny"), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def plan(photographs: Path, weights: Path, tmp_path: Path) -> ablation.Plan:
    changes = {"batch_size": 2, "input_sizes": "0:64", "synthetic": 2, "val_scenes": 1}
    return ablation.Plan(photographs, str(weights), tmp_path / "work", 1, steps=3, changes=changes)


@pytest.fixture(autouse=True)
def rng_as_it_was() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_network_starts_as_the_plain_one_bit_for_bit(name: str, tmp_path: Path) -> None:
    plain = build_model("posrefine_tiny", refine=ablation.NETWORKS["plain"])
    save_weights(plain, tmp_path / "start.safetensors")
    images = torch.rand(2, 3, 64, 96)

    network = ablation.filled(name, tmp_path / "start.safetensors", seed=1)

    assert (len(network.state_dict()) > len(plain.state_dict())) == (name != "plain")
    with torch.no_grad():
        for mine, wanted in zip(network.eval()(images), plain.eval()(images), strict=True):
            assert torch.equal(mine, wanted)


def test_a_stopped_training_goes_on_to_the_same_weights(plan: ablation.Plan, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_weights(build_model("posrefine_tiny", refine=ablation.NETWORKS["plain"]), start)

    def job() -> ablation.TrainingJob:
        return ablation.job_of(plan, ablation.filled("+ DCM", start, seed=0), plan.steps, seed=0)

    whole, _ = ablation.learnt(job(), tmp_path / "whole.pt")
    with pytest.raises(InterruptedError, match="stopped after 1 of 3 steps; run again"):
        ablation.learnt(job(), tmp_path / "stopped.pt", stopping=iter([False, True]).__next__)
    resumed, _ = ablation.learnt(job(), tmp_path / "stopped.pt")

    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_trainings_with_other_settings_are_refused_with_the_difference(
    plan: ablation.Plan, tmp_path: Path
) -> None:
    store, alike = tmp_path / "ablation.json", plan.alike()
    empty = ablation.stored(store, alike)
    store.write_text(json.dumps(empty))

    assert ablation.stored(store, alike)["rows"] == []
    with pytest.raises(SystemExit, match=r"other settings \(steps 3 -> 4\): name another --store"):
        ablation.stored(store, alike | {"steps": 4})


def test_the_table_compares_with_the_plain_network_of_the_same_seed() -> None:
    rows = [
        row(network, seed, photographs=ap, scenes=0.5)
        for network, scores in (("plain", (0.1, 0.2)), ("+ DCM", (0.12, 0.24)), ("+ HSM", (0.1,)))
        for seed, ap in enumerate(scores)
    ]

    lines = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in ablation.table(rows)[2:]]

    assert [cells[0] for cells in lines] == ["plain", "+ DCM", "+ HSM"]
    assert lines[0][1:6] == ["2.00", "1.00", "60", "40", "2"]
    assert lines[0][6:] == ["0.150 ± 0.071", "", "0.500 ± 0.000", ""]
    assert lines[1][6:] == ["0.180 ± 0.085", "+0.030 ± 0.014", "0.500 ± 0.000", "+0.000 ± 0.000"]
    assert lines[2][5:] == ["1", "0.100", "+0.000", "0.500", "+0.000"]


def row(network: str, seed: int, **scores: float) -> dict[str, object]:
    size = {"parameters": 2_000_000, "multiply_adds": 1_000_000_000}
    cost = {"training_cpu_s": 60.0, "forward_cpu_ms": 40.0}
    metrics = {images: {"AP": ap} for images, ap in scores.items()}
    return {"network": network, "seed": seed, **size, **cost, "metrics": metrics}


@pytest.mark.slow
def test_four_networks_are_trained_for_every_seed_once(
    photographs: Path, weights: Path, tmp_path: Path
) -> None:
    store = tmp_path / "ablation.json"
    arguments = (
        *("--photographs", str(photographs), "--work", str(tmp_path / "work"), "--store", str(store)),
        *("--weights", str(weights), "--first-steps", "1", "--steps", "1", "--seeds", "1"),
        *("--batch-size", "2", "--input-sizes", "0:64", "--synthetic", "2", "--val-scenes", "1"),
    )

    first = run("ablation.py", *arguments)
    assert first.returncode == 0, first.stderr[-3000:]
    result = json.loads(store.read_text())
    assert [(row["network"], row["seed"]) for row in result["rows"]] == [(name, 0) for name in NAMES]
    assert result["start"]["images"]["images_of_sources"] == [2, 2]
    assert result["start"]["images"]["images_validated"] == {"photographs": 1, "scenes": 1}
    plain, dcm, hsm, both = (row["parameters"] for row in result["rows"])
    assert plain < dcm < hsm < both
    assert all(set(row["metrics"]) == {"photographs", "scenes"} for row in result["rows"])

    store.write_text(json.dumps(result | {"rows": result["rows"][:3]}))
    # Another night on another machine: what is kept is the result and the start beside it, and newer weights.
    shutil.rmtree(tmp_path / "work")
    save_weights(build_model("posrefine_tiny"), weights)
    second = run("ablation.py", *arguments)

    assert second.returncode == 0, second.stderr[-3000:]
    rows = json.loads(store.read_text())["rows"]
    assert rows[:3] == result["rows"][:3]
    assert rows[3]["metrics"] == result["rows"][3]["metrics"]
    assert len([line for line in second.stdout.splitlines() if line.startswith(("| plain", "| +"))]) == 4

    store.write_text(json.dumps(result | {"rows": []}))
    (tmp_path / "ablation_start.safetensors").write_bytes(weights.read_bytes())
    third = run("ablation.py", *arguments)

    assert third.returncode != 0
    assert "ablation_start.safetensors is " in third.stderr
    assert "bring that file back" in third.stderr


@pytest.mark.slow
def test_weights_are_scored_in_every_test_on_scenes_that_are_not_trained_on(
    tmp_path: Path,
) -> None:
    save_weights(build_model("posrefine_tiny"), tmp_path / "new.safetensors")
    save_weights(ScoreNet(COCO), tmp_path / "score.safetensors")

    done = run(
        *("held_out.py", "--weights", str(tmp_path / "new.safetensors"), "--scenes", "3"),
        *("--score-weights", str(tmp_path / "score.safetensors"), "--store", str(tmp_path / "stored.json")),
    )

    assert done.returncode == 0, done.stderr[-3000:]
    stored = json.loads((tmp_path / "stored.json").read_text())
    assert (stored["scenes"], stored["first_seed"], stored["input_size_px"]) == (3, 8_000_000, 256)
    assert set(stored["metrics"]) == {
        "one view",
        "flip test",
        "flip and multi-scale test",
        "flip test, official protocol",
        "flip test, rescored",
        "flip and multi-scale test, rescored",
    }
    for metrics in stored["metrics"].values():
        assert len(metrics) == 10
        assert all(-1 <= value <= 1 for value in metrics.values())
