"""Small runs of the annotate job, in this process or in one that gets killed, and what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from support.images import encode, gradient

from jobs.annotate import main
from pipeline.output.parquet import decode_table
from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage

__all__ = [
    "SETTINGS",
    "annotate",
    "is_free",
    "require_same_rows",
    "require_same_tables",
    "require_whole_objects",
    "some_images",
    "start_driver",
    "table",
    "write_images",
]

SETTINGS = (
    *("--model", "posrefine_tiny", "--weights", "untrained", "--input-size", "64", "--precision", "float32"),
    *("--unit-images", "2", "--table-units", "3", "--max-error-rate", "1"),
)
"""Of a small run: units of two images, tables of three units a file."""

_DYING_DRIVER = Path(__file__).with_name("dying_driver.py")


def some_images(count: int) -> dict[str, bytes]:
    """Small images, no two alike, with one among them that is none."""
    images = {f"{index:03d}.png": encode(gradient(64 + index % 7, 64), "PNG") for index in range(count - 1)}
    return images | {f"{count - 1:03d}.jpg": b"words"}


def write_images(folder: Path, images: Mapping[str, bytes]) -> str:
    """The folder's address, with the images in it."""
    folder.mkdir(parents=True)
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return str(folder)


def annotate(given: str, output: str, *settings: str) -> int:
    """The exit code of a run in this process; `settings` override `SETTINGS`."""
    return main(["run", "--input", given, "--output", output, *SETTINGS, *settings])


def start_driver(
    given: str, output: str, address: str, *settings: str, dies: str = "never", command: str = "run"
) -> subprocess.Popen[str]:
    """A run or a sync in a process of its own on the cluster at `address`; see dying_driver.py for `dies`."""
    started = [sys.executable, str(_DYING_DRIVER), dies, command, "--input", given, "--output", output]
    return subprocess.Popen(
        [*started, *SETTINGS, *settings],
        env=os.environ | {"RAY_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_free(output: str) -> bool:
    """Whether nobody holds the lease on an output."""
    return RunOutput.at(output, Storage()).lease() is None


def table(output: str, name: str) -> pa.Table:
    """The rows of all files of a table, in order: those of its log, and no others lie there."""
    log = RunOutput.at(output, Storage()).log(name)
    folder = f"{output}/tables/{name}"
    names = [part.uri.removeprefix(f"{folder}/") for part in Storage().list(folder)]
    found = [f"{folder}/{name}" for name in names if "/" not in name]
    assert found == [f"{folder}/{path}" for path in sorted(log.snapshot().files)]
    return pa.concat_tables(decode_table(Storage().read_bytes(uri)) for uri in found)


def require_whole_objects(output: str) -> int:
    """Every Parquet file of an output can be read, and no image is in two units; returns the images."""
    uris: list[tuple[str, str]] = []
    for found in Storage().list(output):
        if found.uri.endswith(".parquet"):
            rows = decode_table(Storage().read_bytes(found.uri))
            generation, is_unit, _ = found.uri.rpartition("/units/")
            uris += [(generation, uri) for uri in rows["uri"].to_pylist()] if is_unit else []
    assert len(uris) == len(set(uris)), "an image is in two units of a generation"
    return len(uris)


def require_same_tables(output: str, undisturbed: str, names: Iterable[str] = ("images", "persons")) -> None:
    """Row for row the same, every number within the rounding of a batch of another size.

    Args:
        output: of the run that was disturbed.
        undisturbed: the output of one that was not, of the same images in a folder of the same name.
        names: of the tables.
    """
    for name in names:
        found, wanted = table(output, name), table(undisturbed, name)
        assert len(found) == len(wanted), f"{name}: {len(found)} rows; wanted {len(wanted)}"
        for column in wanted.column_names:
            _require_same_column(f"{name}.{column}", found[column], wanted[column])


def require_same_rows(output: str, fresh: str) -> None:
    """The same rows of each image, whichever unit it came in, as in `require_same_tables`."""
    for name, order in (("images", ["uri"]), ("persons", ["uri", "person"])):
        found, wanted = (
            table(uri, name).sort_by([(column, "ascending") for column in order]).drop_columns(["unit"])
            for uri in (output, fresh)
        )
        assert len(found) == len(wanted), f"{name}: {len(found)} rows; wanted {len(wanted)}"
        for column in wanted.column_names:
            _require_same_column(f"{name}.{column}", found[column], wanted[column])


def _require_same_column(name: str, found: pa.ChunkedArray, wanted: pa.ChunkedArray) -> None:
    if pa.types.is_list(wanted.type):
        assert found.combine_chunks().value_lengths() == wanted.combine_chunks().value_lengths(), name
        found, wanted = found.combine_chunks().flatten(), wanted.combine_chunks().flatten()
    if pa.types.is_floating(wanted.type):
        np.testing.assert_allclose(found.to_numpy(), wanted.to_numpy(), rtol=1e-4, atol=1e-3, err_msg=name)
    else:
        assert found.to_pylist() == wanted.to_pylist(), name
