"""Whoever reads a table while syncs publish reads some generation of it, whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars
import pytest
from deltalake import DeltaTable
from support.importers import read_by
from support.standing import Standing, picture

from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage

SYNCS = 10
Rows = frozenset[tuple[Any, ...]]


def images_by_deltalake(output: str) -> Rows:
    table = DeltaTable(f"{output}/tables/images").to_pyarrow_table(columns=["uri", "sha256"])
    return whole(table.to_pylist(), "uri", "sha256")


def images_by_polars(output: str) -> Rows:
    frame = polars.scan_delta(f"{output}/tables/images").select("uri", "sha256").collect()
    return whole(frame.to_dicts(), "uri", "sha256")


def persons_by_polars(output: str) -> Rows:
    frame = polars.scan_delta(f"{output}/tables/persons").select("uri", "person", "score").collect()
    return whole(frame.to_dicts(), "uri", "person", "score")


def whole(rows: list[dict[str, Any]], *names: str) -> Rows:
    found = [tuple(row[name] for name in names) for row in rows]
    assert len(set(found)) == len(found), "a row is there twice"
    return frozenset(found)


def both_by_success(output: str) -> Rows:
    """The pair of tables that `_SUCCESS.json` names, as export, evaluation and report read it."""
    images = list(RunOutput.at(output, Storage()).images())
    return frozenset((image.uri, image.sha256, len(image.poses or ())) for image in images)


READERS = (images_by_deltalake, images_by_polars, persons_by_polars, both_by_success)


@contextmanager
def reading(
    output: str, read: Callable[[str], Rows], seen: list[Rows], broken: list[Exception]
) -> Iterator[None]:
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            try:
                seen.append(read(output))
            except Exception as error:  # noqa: BLE001 - the test looks at it
                broken.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ten_syncs(standing: Standing, bucket: Path) -> Iterator[None]:
    """Stops after each of them."""
    for number in range(SYNCS):
        (bucket / f"new {number}.png").write_bytes(picture(100 + number))
        if number % 3 == 2:
            (bucket / f"{number % 8}.png").write_bytes(picture(200 + number))
            (bucket / f"new {number - 1}.png").unlink()
        standing.sync()
        yield


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


@pytest.fixture
def standing(bucket: Path, tmp_path: Path) -> Standing:
    """Synced once."""
    found = Standing(Storage(), str(bucket), str(tmp_path / "out"), {"replaced_grace_s": 6.0})
    found.sync()
    return found


@pytest.mark.slow
def test_every_reading_of_a_table_is_some_generation_whole(standing: Standing, bucket: Path):
    output = standing.output_uri
    generations = {read: [read(output)] for read in READERS}
    seen: dict[Any, list[Rows]] = {read: [] for read in READERS}
    broken: list[Exception] = []
    with ExitStack() as readers:
        for read in READERS:
            readers.enter_context(reading(output, read, seen[read], broken))
        for _ in ten_syncs(standing, bucket):
            for read in READERS:
                generations[read].append(read(output))
    assert not broken, broken
    for read in READERS:
        assert len(set(generations[read])) > SYNCS // 2
        assert set(seen[read]) <= set(generations[read]), f"{read.__name__}: a mixture"
        assert len(set(seen[read])) > 2


@pytest.mark.slow
def test_so_is_every_reading_by_duckdb(standing: Standing, bucket: Path, tmp_path: Path):
    ready, over = tmp_path / "ready", tmp_path / "over"
    table = Path(standing.output_uri, "tables", "images")
    generations = [both_by_success(standing.output_uri)]
    with ThreadPoolExecutor(1) as threads:
        # There is none for later versions of DuckDB.
        package = "duckdb-ext-delta==1.4.4.20260205"
        reader = threads.submit(read_by, "duckdb_delta", package, table, ready, over)
        while not ready.exists() and not reader.done():
            time.sleep(0.05)
        if ready.exists():
            for _ in ten_syncs(standing, bucket):
                generations.append(both_by_success(standing.output_uri))
        over.touch()
        seen = [frozenset(tuple(row) for row in found) for found in reader.result()]
    assert set(seen) <= set(generations), "a mixture"
    assert (seen[0], seen[-1]) == (generations[0], generations[-1])
