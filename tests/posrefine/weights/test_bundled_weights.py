"""The weights that come with the package need no network, are small, and as good as is said of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from torch import nn

from posrefine import build_model, load_weights
from posrefine.build import VARIANTS
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO
from posrefine.training.validation import ValidationSet
from posrefine.weights import ZOO, ZooEntry
from posrefine.weights.download import cache_directory

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "posrefine" / "weights" / "bundled"
LARGEST_BYTES = 12_000_000
FIRST_HELD_OUT_SEED = 8_000_000

SCORE_NET = "score_net"
ENTRIES = [entry for entry in ZOO.values() if entry.bundled]


def network_of(entry: ZooEntry) -> nn.Module:
    return ScoreNet(COCO) if entry.variant == SCORE_NET else build_model(entry.variant)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_bundled_weights_load_by_name_with_an_empty_cache(
    entry: ZooEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POSREFINE_CACHE", str(tmp_path / "cache"))
    info = load_weights(network_of(entry), entry.name)
    assert not cache_directory().exists()
    assert info.sha256.startswith(entry.sha256_prefix)
    assert (info.licence, info.skeleton, info.protocol) == (entry.licence, entry.skeleton, entry.protocol)
    assert info.not_in_file == info.not_used == ()
    assert "rendered people" in str(info.note)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_bundled_weights_are_small_and_have_a_card_with_their_digest_and_command(entry: ZooEntry):
    data = (BUNDLED / entry.file_name).read_bytes()
    assert len(data) <= LARGEST_BYTES
    card = (BUNDLED / entry.file_name).with_suffix(".md").read_text()
    script = "train_score.py" if entry.variant == SCORE_NET else "train.py"
    for words in (hashlib.sha256(data).hexdigest(), f"python jobs/{script} ", "rendered people"):
        assert words in card


def test_rescoring_puts_the_persons_of_held_out_scenes_into_a_better_order():
    stored = json.loads((ROOT / "benchmarks" / "results" / "held_out.json").read_text())
    assert stored["score_weights"] == "posrefine:tiny_coco_score"
    for test in ("flip test", "flip and multi-scale test"):
        plain, rescored = (stored["metrics"][name] for name in (test, f"{test}, rescored"))
        assert rescored["AP"] > plain["AP"]
        assert rescored["AR50"] == pytest.approx(plain["AR50"], abs=0.01)


def test_the_figure_of_the_zoo_is_the_stored_one_of_held_out_scenes():
    entry = ZOO["posrefine:tiny_coco"]
    stored = json.loads((ROOT / "benchmarks" / "results" / "held_out_carried_over.json").read_text())
    assert stored["weights"] == entry.name
    assert stored["first_seed"] == FIRST_HELD_OUT_SEED
    assert entry.published_on == f"{stored['scenes']} rendered scenes"
    assert entry.published_ap == pytest.approx(100 * stored["metrics"]["flip test"]["AP"], abs=0.05)


def test_the_figure_of_those_that_have_met_photographs_is_the_stored_one_of_photographs():
    entry = ZOO["posrefine:tiny_photos"]
    stored = json.loads((ROOT / "benchmarks" / "results" / "on_photographs.json").read_text())
    assert (stored["weights"], stored["score_weights"]) == (entry.name, entry.score_weights)
    assert entry.scales == tuple(float(scale) for scale in stored["scales"].split(","))
    assert entry.published_on == f"{stored['photographs']} photographs"
    assert entry.published_ap == pytest.approx(100 * stored["metrics"]["AP"], abs=0.05)


@pytest.mark.slow
def test_bundled_weights_find_people_on_scenes_that_they_have_not_met():
    entry = ZOO["posrefine:tiny_coco"]
    model = build_model(entry.variant)
    load_weights(model, entry.name)
    scenes = ValidationSet.rendered(60, FIRST_HELD_OUT_SEED, COCO)
    found = scenes.metrics(model.eval(), VARIANTS[entry.variant].input_size, flip=True)
    assert entry.published_ap is not None
    figure = entry.published_ap / 100
    assert 0.75 * figure < found.AP
