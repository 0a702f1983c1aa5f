"""A checkpoint of a Delta table's log: the table at one version, as a Parquet file.

With it nobody reads thousands of commits to know which files a table consists of.
"""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.delta import DataFile, Snapshot
from pipeline.storage.object_file import PARQUET_ERRORS
from posrefine.errors import ShardError

__all__ = ["decode_checkpoint", "encode_checkpoint", "encode_last"]

_WORDS = pa.map_(pa.string(), pa.string())
_SCHEMA = pa.schema(
    [
        ("txn", pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())])),
        (
            "add",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("partitionValues", _WORDS),
                    ("size", pa.int64()),
                    ("modificationTime", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("stats", pa.string()),
                ]
            ),
        ),
        (
            "remove",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("deletionTimestamp", pa.int64()),
                    ("dataChange", pa.bool_()),
                ]
            ),
        ),
        (
            "metaData",
            pa.struct(
                [
                    ("id", pa.string()),
                    ("name", pa.string()),
                    ("format", pa.struct([("provider", pa.string()), ("options", _WORDS)])),
                    ("schemaString", pa.string()),
                    ("partitionColumns", pa.list_(pa.string())),
                    ("configuration", _WORDS),
                    ("createdTime", pa.int64()),
                ]
            ),
        ),
        (
            "protocol",
            pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())]),
        ),
    ]
)


def encode_checkpoint(table: Snapshot) -> bytes:
    """The table at its version, as the protocol wants it."""
    facts = dict(table.facts)
    facts["metaData"] = facts["metaData"] | {
        "configuration": list(facts["metaData"]["configuration"].items()),
        "format": {"provider": "parquet", "options": []},
    }
    rows: list[dict[str, Any]] = [{"protocol": facts["protocol"]}, {"metaData": facts["metaData"]}]
    rows += [{"txn": dict(transaction)} for transaction in table.transactions.values()]
    for file in table.files.values():
        add = {
            "path": quote(file.path),
            "partitionValues": [],
            "size": file.size_bytes,
            "modificationTime": table.time_ms,
            "dataChange": False,
            "stats": json.dumps({"numRecords": file.rows}),
        }
        rows.append({"add": add})
    for path, removed_ms in table.removed.items():
        gone = {"path": quote(path), "deletionTimestamp": removed_ms, "dataChange": False}
        rows.append({"remove": gone})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def decode_checkpoint(uri: str, version: int, data: bytes, app: str) -> Snapshot:
    """The table at that version; its generation is that of `app`.

    Raises:
        ShardError: the bytes are no checkpoint of such a table.
    """
    try:
        rows = pq.read_table(io.BytesIO(data), use_threads=False).to_pylist(maps_as_pydicts="strict")
        facts = {name: row[name] for row in rows for name in ("protocol", "metaData") if row[name]}
        transactions = {row["txn"]["appId"]: row["txn"] for row in rows if row["txn"]}
        time_ms = max(txn["lastUpdated"] for txn in transactions.values())
        files = [
            DataFile(unquote(add["path"]), add["size"], json.loads(add["stats"])["numRecords"])
            for row in rows
            if (add := row["add"])
        ]
        removed = {
            unquote(row["remove"]["path"]): row["remove"]["deletionTimestamp"]
            for row in rows
            if row["remove"]
        }
    except (*PARQUET_ERRORS, KeyError, ValueError, TypeError) as error:
        raise ShardError(
            f"{uri}: is no checkpoint of a table of a run ({error}); `finalize --rebuild` makes the log anew "
            "from the tables' files"
        ) from error
    return Snapshot(
        version=version,
        generation=transactions[app]["version"] if app in transactions else 0,
        files={file.path: file for file in files},
        removed=removed,
        facts=facts,
        time_ms=time_ms,
        transactions=transactions,
    )


def encode_last(table: Snapshot) -> bytes:
    """What leads readers to the checkpoint of the table."""
    rows = 2 + len(table.transactions) + len(table.files) + len(table.removed)
    return json.dumps({"version": table.version, "size": rows}).encode()
