"""A unit whose images would fill the memory once decoded is decoded in parts, with the same results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.images import encode

from pipeline.ground_truth.annotations import read_image_names
from pipeline.inputs.cutting import cut_into_units
from pipeline.inputs.load import load_unit
from pipeline.inputs.readers import ReadOptions, read_options
from pipeline.inputs.units import LoadedImage
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import load_network
from pipeline.settings.run import RunSettings
from pipeline.stages.handover import LoadedUnit
from pipeline.storage import Storage
from posrefine.errors import ImageError, ImageStatus
from posrefine.synthetic import SceneSpec, render_scene

STORAGE = Storage()
SIDE = 64
DECODED_BYTES = SIDE * SIDE * 3


def photographs(folder: Path, count: int) -> None:
    for number in range(count):
        scene = render_scene(number, SceneSpec(width_px=SIDE, height_px=SIDE, people=(1, 2))).image
        (folder / f"{number}.jpg").write_bytes(encode(scene))
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-300])


def loaded(folder: Path, options: ReadOptions) -> list[LoadedImage]:
    (unit,) = cut_into_units(str(folder), STORAGE)
    return load_unit(unit, STORAGE, options)


def test_images_beyond_the_bound_of_a_unit_are_not_decoded_while_it_is_loaded(tmp_path: Path):
    photographs(tmp_path, 6)
    touched: list[str] = []

    @contextmanager
    def guard(uri: str) -> Iterator[None]:
        touched.append(Path(uri).name)
        yield

    images = loaded(tmp_path, ReadOptions(decoded_bytes=2 * DECODED_BYTES, guard=guard))

    assert touched == ["0.jpg", "1.jpg"]
    assert [image.pixels is not None for image in images] == [True, True, False, False, False, False]
    assert [image.encoded for image in images[2:]] == [
        (tmp_path / f"{number}.jpg").read_bytes() for number in range(2, 6)
    ]
    assert {image.status for image in images} == {ImageStatus.OK}
    back = LoadedUnit.from_table(LoadedUnit("u0", 1, 0.0, images).to_table()).images
    assert [image.encoded for image in back] == [image.encoded for image in images]


def test_many_large_pictures_in_a_few_bytes_are_never_decoded_together(tmp_path: Path):
    picture = encode(np.zeros((3000, 4000, 3), np.uint8), "WEBP")
    for number in range(16):
        (tmp_path / f"{number:02d}.webp").write_bytes(picture)
    images = loaded(tmp_path, ReadOptions(decoded_bytes=80_000_000))
    assert sum(image.pixels.nbytes for image in images if image.pixels is not None) == 2 * 36_000_000
    assert sum(len(image.encoded) for image in images if image.encoded is not None) < 1_000_000


def test_a_unit_in_parts_has_the_results_of_one_in_a_piece(tmp_path: Path):
    photographs(tmp_path, 7)
    settings = RunSettings(
        input=str(tmp_path), output="/unused", model="posrefine_tiny", weights="posrefine:tiny_coco",
        device="cpu", precision="float32", input_size=64,
    )  # fmt: skip
    network, (ids, _) = load_network(settings, STORAGE), read_image_names(None, STORAGE)
    whole = read_options(settings, network.identity.input_size)
    annotate = UnitAnnotator(network, settings, "cpu", ids, whole)
    expected = annotate(loaded(tmp_path, whole)).results
    decoded: list[int] = []

    @contextmanager
    def guard(uri: str) -> Iterator[None]:
        if uri.endswith("5.jpg"):
            raise ImageError(ImageStatus.TIMEOUT, "it takes too long")
        decoded.append(1)
        yield

    images = loaded(tmp_path, replace(whole, decoded_bytes=DECODED_BYTES))
    assert sum(image.encoded is not None for image in images) == 6
    found = annotate(images, guard, 2 * DECODED_BYTES).results
    alone = annotate.one_by_one(images, lambda uri: uri.endswith("3.jpg"), lambda uri: None, guard).results

    assert [row.status.value for row in expected] == ["ok", "ok", "truncated", "ok", "ok", "ok", "ok"]
    assert [row.status.value for row in found] == ["ok", "ok", "truncated", "ok", "ok", "timeout", "ok"]
    assert [row.status.value for row in alone][3] == "worker_died"
    assert len(decoded) == 5 + 4
    for before, after in zip(expected, found, strict=True):
        assert (before.image_key, before.sha256) == (after.image_key, after.sha256)
        if after.status is ImageStatus.OK:
            assert (before.width, before.height) == (after.width, after.height)
            np.testing.assert_allclose(before.poses.scores, after.poses.scores, atol=1e-4)  # type: ignore[union-attr]
