"""Time and memory of choosing images to review: made-up tables of a million images, as a run writes them.

Poses, scores and spreads are made up, their numbers and sizes are those of a real run: 2.2 persons an image in
the mean, 17 joints, files of 65,536 images. With `--against` a second run over the same images is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from machine import machine, store
from process_memory import measured

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.output.layout import OutputTree
from pipeline.output.parquet import encode_table
from pipeline.output.schema import IMAGES_SCHEMA, MODEL, PERSONS_SCHEMA, TableMetadata
from pipeline.storage import Storage
from posrefine.skeletons import COCO

IN_A_FILE = 65_536
BUDGET = 1_000
SIZES = (125_000, 1_000_000)
WAYS = {
    "alone": ["--no-distributed"],
    "alone, in Ray tasks": ["--distributed"],
    "against another run": ["--no-distributed"],
    "against another run, in Ray tasks": ["--distributed"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of images")
    arguments = parser.parse_args()
    rows = []
    for images in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as folder:
            one, other = f"{folder}/one", f"{folder}/other"
            write_tables(one, images, seed=0)
            write_tables(other, images, seed=1)
            job = [sys.executable, str(Path(__file__).resolve().parents[1] / "jobs" / "review.py")]
            for name, more in WAYS.items():
                against = ["--against", other] if "against" in name else []
                command = [*job, "select", "--output", one, "--budget", str(BUDGET), *against, *more]
                usage = measured(command, Path.cwd(), f"{images:,} images, {name}")
                queue = usage.printed.splitlines()[0]
                size = sum(path.stat().st_size for path in Path(one, "tables").rglob("*.parquet"))
                rows.append(
                    {
                        "images": images,
                        "compared": name,
                        "table_bytes": size,
                        **usage.as_row(),
                        "images_per_s": round(images / usage.seconds),
                        "queue": queue,
                    }
                )
    store("review_select", {"machine": machine(("pyarrow", "numpy")), "budget": BUDGET, "rows": rows})


def write_tables(output: str, images: int, seed: int) -> None:
    """The tables of a run over so many images; runs of all seeds have the same images."""
    storage, tree = Storage(), OutputTree.at(output)
    settings = json.dumps({"exif": "apply", "scales": [1.0], "flip": True, "min_score": 0.3})
    metadata = TableMetadata(
        COCO, "dekr_w32", "w.safetensors", "0" * 64, settings, "0", f"{seed:016x}"
    ).encode()
    shapes = np.random.default_rng(0).normal(0, 1, (24, 17, 2)) * [0.35, 1.0]
    for number, start in enumerate(range(0, images, IN_A_FILE)):
        count = min(IN_A_FILE, images - start)
        rng = np.random.default_rng([seed, number])
        persons = np.random.default_rng([7, number]).poisson(2.2, count)
        persons = np.where(rng.random(count) < 0.1, np.maximum(persons - 1, 0), persons)
        keys = [f"{index // 10_000:05d}/{index:012d}.jpg" for index in range(start, start + count)]
        columns = {
            "image_key": keys,
            "image_id": pa.nulls(count, pa.int64()),
            "unit": [f"u{index // 128:06d}" for index in range(start, start + count)],
            "uri": [f"s3://bucket/photographs/{key}" for key in keys],
            "width": np.full(count, 640, np.int32),
            "height": np.full(count, 480, np.int32),
            "exif_orientation": np.ones(count, np.int8),
            "decode_factor": np.ones(count, np.int8),
            "sha256": [
                f"{index * 0x9E3779B97F4A7C15 % 2**64:016x}" + "0" * 48
                for index in range(start, start + count)
            ],
            "status": np.where(np.random.default_rng([8, number]).random(count) < 0.001, "corrupt", "ok"),
            "error": pa.nulls(count, pa.string()),
            "source": [MODEL] * count,
        }
        columns["person_count"] = np.where(columns["status"] == "ok", persons, 0).astype(np.int32)
        table = pa.table([pa.array(columns[f.name], f.type) for f in IMAGES_SCHEMA], schema=IMAGES_SCHEMA)
        name = f"part-g0001-{number:05d}-0.parquet"
        storage.put(tree.table("images", name), encode_table(table, metadata))
        people = persons_of(table, columns["person_count"], shapes, rng)
        storage.put(tree.table("persons", name), encode_table(people, metadata))


def persons_of(
    images: pa.Table, per_image: np.ndarray, shapes: np.ndarray, rng: np.random.Generator
) -> pa.Table:
    total = int(per_image.sum())
    image = np.repeat(np.arange(len(per_image)), per_image)
    sizes = np.exp(rng.normal(4.0, 0.6, (total, 1, 1)))
    places = rng.uniform(0, 1, (total, 1, 2)) * [640, 480]
    kinds = shapes[rng.integers(0, len(shapes), total)]
    keypoints = (places + sizes * (kinds + rng.normal(0, 0.15, (total, 17, 2)))).astype(np.float32)
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    keys = [images[name].take(image) for name in PERSONS_SCHEMA.names[:6]]
    starts = np.cumsum(per_image) - per_image
    return pa.table(
        [
            *keys,
            pa.array((np.arange(total) - np.repeat(starts, per_image)).astype(np.int32)),
            pa.array(rng.beta(4, 3, total).astype(np.float32)),
            lists(np.concatenate([low, high - low], axis=1)),
            lists(keypoints.reshape(total, -1)),
            lists(rng.beta(5, 2, (total, 17))),
            lists(np.abs(rng.normal(0, 3, (total, 17)))),
            pa.nulls(total, PERSONS_SCHEMA.field("visibility").type),
            images["source"].take(image),
        ],
        schema=PERSONS_SCHEMA,
    )


def lists(rows: np.ndarray) -> pa.ListArray:
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(rows.astype(np.float32).reshape(-1)))


if __name__ == "__main__":
    main()
