"""What a unit's images become, besides their poses."""

from __future__ import annotations

import pytest

from pipeline.ground_truth.image_names import ImageNames
from pipeline.inputs.units import LoadedImage
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import load_network
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.errors import ImageStatus


def test_an_image_whose_name_two_annotated_images_have_gets_no_id_and_its_neighbours_theirs(
    caplog: pytest.LogCaptureFixture,
):
    settings = RunSettings(
        input="photos", output="out", model="posrefine_tiny", weights="posrefine:tiny_coco", device="cpu"
    )
    names = ImageNames.of([("a/1.jpg", 1), ("b/1.jpg", 2), ("val/3.jpg", 3)])
    annotate = UnitAnnotator(load_network(settings, Storage()), settings, "cpu", names)
    keys = ("1.jpg", "3.jpg", "c/1.jpg", "b/1.jpg")

    rows = annotate([LoadedImage(key, f"s3://x/{key}", ImageStatus.CORRUPT) for key in keys]).results

    assert [row.image_id for row in rows] == [None, 3, None, 2]
    assert "is it a/1.jpg (id 1) or b/1.jpg (id 2)" in caplog.text
