"""Finite weights that compute NaN end a run with an error; no image of it is told to be without persons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.images import encode, gradient

from jobs.annotate import main
from posrefine import build_model, load_weights, save_weights


@pytest.mark.parametrize(
    ("part", "factor", "layer"),
    [("stage4.0.branches", 1e10, "stage4"), ("head_heatmap.0", 1e30, "head_heatmap")],
)
def test_a_run_with_weights_that_compute_nan_ends_with_an_error_and_finishes_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, factor: float, layer: str
):
    model = build_model("posrefine_tiny")
    load_weights(model, "posrefine:tiny_coco")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith(part) and value.ndim == 4:
                value.mul_(factor)
    save_weights(model, tmp_path / "diverged.safetensors")
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(encode(gradient(64, 48 + number), "PNG"))

    code = main(
        [
            "run", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"),
            "--model", "posrefine_tiny", "--weights", str(tmp_path / "diverged.safetensors"),
            "--input-size", "64", "--precision", "float32", "--device", "cpu",
        ]
    )  # fmt: skip

    assert code != 0
    assert f"network: {layer}" in (said := capsys.readouterr().err)
    assert "computes NaN or infinity" in said
    outcome = json.loads((tmp_path / "out" / "outcome.json").read_text())
    assert (outcome["complete"], outcome["images"].get("ok", 0)) == (False, 0)
    assert not list((tmp_path / "out").rglob("*.parquet"))
