"""Large photographs are predicted smaller, and what is found is told in the photograph's own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.images import encode, exif_block

from pipeline.ground_truth.annotations import read_image_names
from pipeline.inputs.cutting import cut_into_units
from pipeline.inputs.load import load_unit
from pipeline.inputs.readers import read_options
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import Network, load_network
from pipeline.output.schema import ImageResult
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.synthetic import SceneSpec, render_scene

WIDTH, HEIGHT = 2201, 2053


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(settings_of("/nowhere"), Storage())


def settings_of(folder: str, **changes: object) -> RunSettings:
    given = {"input": folder, "output": "/unused", "model": "posrefine_tiny", "device": "cpu"}
    return RunSettings(**given | {"weights": "posrefine:tiny_coco", "precision": "float32"} | changes)


def annotated(folder: Path, network: Network, **changes: object) -> list[ImageResult]:
    settings, storage = settings_of(str(folder), **changes), Storage()
    ids, _ = read_image_names(None, storage)
    options = read_options(settings, network.identity.input_size)
    (unit,) = cut_into_units(str(folder), storage)
    return UnitAnnotator(network, settings, "cpu", ids)(load_unit(unit, storage, options)).results


def test_a_large_photograph_has_the_same_people_at_the_same_places(network: Network, tmp_path: Path):
    scene = render_scene(3, SceneSpec(width_px=WIDTH, height_px=HEIGHT, people=(2, 2))).image
    (tmp_path / "plain.jpg").write_bytes(encode(scene, quality=92))
    (tmp_path / "turned.jpg").write_bytes(encode(scene[::-1, ::-1], quality=92, exif=exif_block(3)))

    whole = annotated(tmp_path, network, decode_smaller=False)
    smaller = annotated(tmp_path, network)

    assert [result.decode_factor for result in whole] == [1, 1]
    assert [result.decode_factor for result in smaller] == [4, 4]
    for large, small in zip(whole, smaller, strict=True):
        assert (small.width, small.height) == (large.width, large.height) == (WIDTH, HEIGHT)
        assert large.poses is not None
        assert small.poses is not None
        assert large.poses.scores[0] > 0.25
        sure = large.poses.keypoint_scores[0] > 0.4
        assert sure.sum() >= 5
        nearest = min(
            np.abs(found[sure] - large.poses.keypoints[0][sure]).mean() for found in small.poses.keypoints
        )
        assert nearest < 12  # a px of the network's input is 8 of these


def test_a_photograph_of_cocos_size_is_predicted_as_before(network: Network, tmp_path: Path):
    scene = render_scene(5, SceneSpec(width_px=640, height_px=640, people=(2, 2))).image
    (tmp_path / "coco.jpg").write_bytes(encode(scene, quality=92))
    (whole,), (smaller,) = (annotated(tmp_path, network, decode_smaller=on) for on in (False, True))
    assert smaller.decode_factor == 1
    assert whole.poses is not None
    assert smaller.poses is not None
    np.testing.assert_array_equal(smaller.poses.keypoints, whole.poses.keypoints)
    np.testing.assert_array_equal(smaller.poses.scores, whole.poses.scores)
