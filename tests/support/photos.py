"""The real photographs of the optional reference data, in every form a run can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.s3 import Bucket
from support.shards import make_parquet, make_tar
from support.shared import shared_path

from pipeline.storage import Storage

PHOTOS = 67

CUT_TARS = ["--unit-bytes", "1000000"]
"""Settings that cut the tars in the middle of members."""


def read_photos() -> dict[str, bytes]:
    """Encoded photographs by file name; skips the test where the reference data is absent."""
    folder = shared_path("data", "coco67", "images")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_photos(folder: Path, photos: dict[str, bytes]) -> str:
    folder.mkdir()
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    return str(folder)


def three_forms(photos: dict[str, bytes], folder: Path, bucket: Bucket) -> dict[str, str]:
    """The photographs as a folder, as tars in a bucket and as Parquet: inputs by the outputs for them."""
    for index, part in enumerate(in_quarters(photos)):
        bucket.write(f"tars/{index}.tar", make_tar(part))
    (folder / "shards").mkdir()
    (folder / "shards" / "all.parquet").write_bytes(make_parquet(photos))
    return {
        str(folder / "from-folder"): write_photos(folder / "photos", photos),
        f"{bucket.uri}/from-tars": f"{bucket.uri}/tars",
        str(folder / "from-parquet"): str(folder / "shards"),
    }


def assert_same_persons(outputs: list[str], photos: dict[str, bytes]) -> None:
    """Every output has every photograph once, and the same persons in it as the others."""
    found = []
    for output in outputs:
        images = table(output, "images")
        assert set(images["status"].to_pylist()) == {"ok"}
        assert sorted(key.rpartition("/")[2] for key in images["image_key"].to_pylist()) == sorted(photos)
        assert len(set(images["uri"].to_pylist())) == len(images)
        found.append(poses_by_image(table(output, "persons")))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, keypoints in found[0].items():
            # Other batches round differently: these are hundredths of a pixel.
            np.testing.assert_allclose(other[name], keypoints, atol=0.05)


def table(output: str, name: str) -> pa.Table:
    folder = f"{output}/tables/{name}"
    found = [part.uri for part in Storage().list(folder)]
    parts = [Storage().read_bytes(uri) for uri in found if "/" not in uri.removeprefix(f"{folder}/")]
    return pa.concat_tables(pq.read_table(pa.BufferReader(part), use_threads=False) for part in parts)


def poses_by_image(persons: pa.Table) -> dict[str, np.ndarray]:
    """[N, 17, 2] keypoints, image px, by file name."""
    found: dict[str, list[list[float]]] = {}
    for row in persons.to_pylist():
        found.setdefault(row["image_key"].rpartition("/")[2], []).append(row["keypoints"])
    return {name: np.array(keypoints).reshape(-1, 17, 2) for name, keypoints in found.items()}


def in_quarters(photos: dict[str, bytes]) -> list[dict[str, bytes]]:
    items = list(photos.items())
    return [dict(items[start : start + 17]) for start in range(0, len(items), 17)]
