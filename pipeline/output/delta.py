"""What the log of a Delta table says, by the Delta protocol: actions as JSON, a schema, and their replay.

Only what a table of whole files needs: files are added and removed, each commit names the generation that it
brought (an app transaction), and nothing asks more of a reader than version 1 of the protocol.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from posrefine.errors import ShardError

__all__ = ["APP", "Commit", "DataFile", "Snapshot", "TableFacts", "encode_commit", "replay"]

APP = "posrefine"
"""Names our app transactions, whose version is the generation; see `OutputTree.app`."""

_PRIMITIVES = {
    pa.string(): "string",
    pa.int64(): "long",
    pa.int32(): "integer",
    pa.int8(): "byte",
    pa.float32(): "float",
}
_READER, _WRITER = 1, 2
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What comes of JSON that has other things where a commit has its own."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table.

    Attributes:
        path: below the table's folder.
        size_bytes: of the file.
        rows: in it.
    """

    path: str
    size_bytes: int
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """A table at one version of its log.

    Attributes:
        version: the number of the last commit; -1 where there is no log.
        generation: that it holds; 0 where there is none.
        files: by path.
        removed: paths that were removed, and when, in milliseconds since 1970.
        facts: the log's actions `protocol` and `metaData`.
        time_ms: of the last commit.
        app: whose generation the last commit brought; empty where a checkpoint does not tell.
        transactions: the log's last action `txn` of each app.
    """

    version: int = -1
    generation: int = 0
    files: Mapping[str, DataFile] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    time_ms: int = 0
    app: str = ""
    transactions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """One step of a table.

    Attributes:
        app: whose generation it is.
        generation: that the table holds after it.
        add: files.
        remove: files.
        time_ms: milliseconds since 1970.
        says: what stands in the log about it: run, model, weights.
    """

    app: str
    generation: int
    add: tuple[DataFile, ...]
    remove: tuple[DataFile, ...]
    time_ms: int
    says: Mapping[str, str]


def encode_commit(commit: Commit, table: TableFacts | None) -> bytes:
    """The commit as a file of the log; `table` says what the table is, where that is not in the log yet."""
    mode = "Append" if not commit.remove else "Overwrite"
    actions: list[dict[str, Any]] = [
        {
            "commitInfo": {
                "timestamp": commit.time_ms,
                "operation": "WRITE",
                "operationParameters": {"mode": mode, "partitionBy": "[]"},
                "isBlindAppend": not commit.remove,
                "engineInfo": APP,
                **commit.says,
            }
        }
    ]
    if table is not None:
        actions += table.actions(commit.time_ms)
    actions.append(
        {"txn": {"appId": commit.app, "version": commit.generation, "lastUpdated": commit.time_ms}}
    )
    actions += [_remove(file, commit) for file in commit.remove]
    actions += [_add(file, commit) for file in commit.add]
    return "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions).encode()


@dataclass(frozen=True)
class TableFacts:
    """What a table is: its first commit says it.

    Attributes:
        table_id: a UUID.
        name: of the table.
        schema: of its rows.
        configuration: what a reader must know to use its numbers.
    """

    table_id: str
    name: str
    schema: pa.Schema
    configuration: Mapping[str, str]

    def actions(self, time_ms: int) -> list[dict[str, Any]]:
        """Protocol and metadata."""
        return [
            {"protocol": {"minReaderVersion": _READER, "minWriterVersion": _WRITER}},
            {
                "metaData": {
                    "id": self.table_id,
                    "name": self.name,
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": json.dumps(_struct(self.schema)),
                    "partitionColumns": [],
                    "configuration": dict(self.configuration),
                    "createdTime": time_ms,
                }
            },
        ]


def replay(before: Snapshot, commits: Iterable[tuple[int, str, bytes]], app: str) -> Iterator[Snapshot]:
    """The table after each of the commits: number, address and bytes of their files, in order.

    Generations are those of `app`.

    Raises:
        ShardError: one is no commit of such a table, or is missing.
    """
    snapshot = before
    for version, uri, data in commits:
        if version != snapshot.version + 1:
            raise ShardError(
                f"{uri}: version {snapshot.version + 1} is missing before it; `finalize --rebuild` makes the "
                "log anew from the tables' files"
            )
        try:
            snapshot = _after(snapshot, version, [json.loads(line) for line in data.splitlines()], app)
        except _NOT_OURS as error:
            raise ShardError(
                f"{uri}: is no commit of a table of a run ({error!r}); `finalize --rebuild` makes the log "
                "anew from the tables' files"
            ) from error
        yield snapshot


def _after(before: Snapshot, version: int, actions: list[dict[str, Any]], app: str) -> Snapshot:
    files, removed, facts = dict(before.files), dict(before.removed), dict(before.facts)
    generation, time_ms, last_app = before.generation, before.time_ms, before.app
    transactions = dict(before.transactions)
    for action in actions:
        if "remove" in action:
            path = unquote(action["remove"]["path"])
            files.pop(path, None)
            removed[path] = int(action["remove"]["deletionTimestamp"])
    for action in actions:
        if "add" in action:
            file = _added(action["add"])
            files[file.path] = file
            removed.pop(file.path, None)
        elif "txn" in action:
            last_app, time_ms = action["txn"]["appId"], int(action["txn"]["lastUpdated"])
            transactions[last_app] = action["txn"]
            if last_app == app:
                generation = int(action["txn"]["version"])
        elif "protocol" in action or "metaData" in action:
            facts |= action
    return replace(
        before,
        version=version,
        generation=generation,
        files=files,
        removed=removed,
        facts=facts,
        time_ms=time_ms,
        app=last_app,
        transactions=transactions,
    )


def _added(action: dict[str, Any]) -> DataFile:
    rows = json.loads(action["stats"])["numRecords"]
    path = unquote(action["path"])
    path.encode()  # half a character is no name
    return DataFile(path, int(action["size"]), int(rows))


def _add(file: DataFile, commit: Commit) -> dict[str, Any]:
    return {
        "add": {
            "path": quote(file.path),
            "partitionValues": {},
            "size": file.size_bytes,
            "modificationTime": commit.time_ms,
            "dataChange": True,
            "stats": json.dumps({"numRecords": file.rows}),
        }
    }


def _remove(file: DataFile, commit: Commit) -> dict[str, Any]:
    return {
        "remove": {
            "path": quote(file.path),
            "deletionTimestamp": commit.time_ms,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": file.size_bytes,
        }
    }


def _struct(schema: pa.Schema) -> dict[str, Any]:
    fields = [
        {"name": field.name, "type": _type(field.type), "nullable": field.nullable, "metadata": {}}
        for field in schema
    ]
    return {"type": "struct", "fields": fields}


def _type(kind: pa.DataType) -> str | dict[str, Any]:
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type), "containsNull": True}
    return _PRIMITIVES[kind]
