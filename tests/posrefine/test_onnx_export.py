"""An exported network computes in onnxruntime what it computes in Torch, for any batch and size."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import posrefine
from posrefine.command.main import main
from posrefine.errors import ConfigurationError
from posrefine.onnx_export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    assert main(["export", "--weights", "posrefine:tiny_coco", "--onnx", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_the_maps_are_torchs_for_any_number_of_images_of_any_size(session):
    model = posrefine.build_model("posrefine_tiny").eval()
    posrefine.load_weights(model, "posrefine:tiny_coco")
    for shape in ((1, 3, 32, 32), (1, 3, 256, 384), (3, 3, 96, 64)):
        pixels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()
        with torch.inference_mode():
            wanted = model(model.normalise(pixels))
        found = session.run(["heatmap", "offset"], {"pixels": pixels.numpy()})
        for name, array in zip(("heatmap", "offset"), found, strict=True):
            expected = getattr(wanted, name).numpy()
            assert array.shape == expected.shape
            assert np.abs(array - expected).max() < 1e-4 * expected.std()


@pytest.mark.slow
def test_the_file_says_what_it_is(session, exported):
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["variant"], metadata["skeleton"]) == ("posrefine_tiny", "coco")
    assert (metadata["input_size"], metadata["protocol"]) == ("256", "posrefine")
    assert json.loads(metadata["joints"]) == list(posrefine.COCO.joints)
    assert metadata["weights"] == "posrefine:tiny_coco"
    assert "rendered people" in metadata["note"]
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]


def test_what_is_missing_is_named_before_anything_is_written(tmp_path, monkeypatch, capsys):
    model = posrefine.build_model("posrefine_tiny")
    with pytest.raises(ConfigurationError, match=r"folder .*nowhere does not exist"):
        export_onnx(model, tmp_path / "nowhere" / "tiny.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigurationError, match=r"needs the package onnxscript.*; pip install onnxscript"):
        export_onnx(model, tmp_path / "tiny.onnx")
    assert list(tmp_path.iterdir()) == []
