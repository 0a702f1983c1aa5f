"""Tars and Parquet files of images made on the spot."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["make_parquet", "make_tar"]


def make_tar(members: Mapping[str, bytes], tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of regular files, end-of-archive mark included."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def make_parquet(images: Mapping[str, bytes | None], rows_per_group: int = 10) -> bytes:
    """A Parquet file as Hugging Face writes images: a column `image` of struct<bytes, path>."""
    rows = [{"bytes": data, "path": name} for name, data in images.items()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), file, row_group_size=rows_per_group)
    return file.getvalue()
