"""Rows of unit files: what goes in comes out, also through Parquet, and splits into images and persons."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import result, some_poses

from pipeline.output.parquet import decode_table, encode_table
from pipeline.output.schema import (
    IMAGES_SCHEMA,
    PERSONS_SCHEMA,
    UNIT_SCHEMA,
    TableMetadata,
    as_found,
    images_table,
    persons_table,
    unit_table,
)
from posrefine.skeletons import COCO

METADATA = TableMetadata(
    skeleton=COCO,
    model="m",
    weights="w.pth",
    weights_sha256="ab",
    settings="{}",
    code_version="1",
    run_id="00",
)


persons_per_image = st.lists(st.none() | st.integers(0, 4), max_size=8)


@settings(deadline=None)
@given(counts=persons_per_image, one_view=st.booleans())
def test_poses_come_back_from_a_unit_file_unchanged(counts: list[int | None], one_view: bool):
    found = [None if n is None else some_poses(n, seed, one_view=one_view) for seed, n in enumerate(counts)]
    table = unit_table("u", [result(i, poses) for i, poses in enumerate(found)])

    back = decode_table(encode_table(table, METADATA.encode()))

    assert back.schema.remove_metadata() == UNIT_SCHEMA
    assert back["status"].to_pylist() == ["corrupt" if n is None else "ok" for n in counts]
    for poses, persons in zip(found, back["persons"].to_pylist(), strict=True):
        assert len(persons) == (0 if poses is None else len(poses))
        for index, person in enumerate(persons):
            np.testing.assert_array_equal(
                np.float32(person["keypoints"]).reshape(17, 2), poses.keypoints[index]
            )
            np.testing.assert_array_equal(np.float32(person["keypoint_scores"]), poses.keypoint_scores[index])
            np.testing.assert_array_equal(np.float32(person["bbox"]), poses.boxes_xywh[index])
            assert np.float32(person["score"]) == poses.scores[index]
            assert (person["spread_px"] is None) == one_view


@settings(deadline=None)
@given(counts=persons_per_image)
def test_images_and_persons_tables_hold_every_row_of_the_units_once(counts: list[int | None]):
    results = [result(i, None if n is None else some_poses(n, i)) for i, n in enumerate(counts)]
    table = unit_table("u", results)

    images, persons = images_table(as_found(table)), persons_table(as_found(table))

    assert images.schema == IMAGES_SCHEMA
    assert persons.schema == PERSONS_SCHEMA
    assert images["person_count"].to_pylist() == [n or 0 for n in counts]
    expected = [(f"{i}.jpg", k) for i, n in enumerate(counts) for k in range(n or 0)]
    assert list(zip(persons["image_key"].to_pylist(), persons["person"].to_pylist(), strict=True)) == expected
    flat = [person["score"] for row in table["persons"].to_pylist() for person in row]
    assert persons["score"].to_pylist() == flat


def test_rows_of_several_chunks_split_like_rows_of_one():
    parts = [unit_table(f"u{i}", [result(i, some_poses(i, i))]) for i in range(4)]
    persons = persons_table(as_found(pa.concat_tables(parts)))
    assert persons["unit"].to_pylist() == ["u1", "u2", "u2", "u3", "u3", "u3"]
    assert persons["person"].to_pylist() == [0, 0, 1, 0, 1, 2]


def test_a_file_says_what_its_numbers_are():
    data = encode_table(unit_table("u", []), METADATA.encode())
    metadata = decode_table(data).schema.metadata
    assert json.loads(metadata[b"posrefine.joints"]) == list(COCO.joints)
    assert json.loads(metadata[b"posrefine.limbs"]) == [list(limb) for limb in COCO.limbs]
    assert b"top-left" in metadata[b"posrefine.coordinate_frame"]
    assert b"posrefine.note" not in metadata
