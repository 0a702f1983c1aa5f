"""What is read of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def batch_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the bytes of each batch of rows that is read."""
    sizes: list[int] = []
    iter_batches = pq.ParquetFile.iter_batches

    def measured(file: pq.ParquetFile, *args: object, **options: object) -> Iterator[pa.RecordBatch]:
        for batch in iter_batches(file, *args, **options):
            sizes.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", measured)
    return sizes
