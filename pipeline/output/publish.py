"""From files to a generation: one commit in the log of each table, and what was replaced goes later.

A file of a table is written once, under a name that no other has, and never changed. The log says which
files are the table; each version of it is one put of a name that is free, so of several writers one wins, and
one that slept finds its version taken.

Replaced files stay for a while, because a reader that opened the table before still wants them. Those of an
older generation are kept for good, under `_replaced/`, where `*.parquet` does not find them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import uuid4

import pyarrow as pa

from pipeline.output.counts import GroupCounts
from pipeline.output.delta import Commit, DataFile, Snapshot, TableFacts, encode_commit
from pipeline.output.delta_checkpoint import encode_checkpoint, encode_last
from pipeline.output.record import RunRecord
from pipeline.output.schema import IMAGES_SCHEMA, PERSONS_SCHEMA
from pipeline.output.table_log import LOG_FOLDER, REPLACED_FOLDER, kept_path
from pipeline.output.writer import OutputWriter
from pipeline.storage.uris import join_uri

__all__ = ["SCHEMAS", "TableName", "clean_tables", "files_of", "files_to_clean", "forget_logs", "publish"]

SCHEMAS: Mapping[str, pa.Schema] = {"images": IMAGES_SCHEMA, "persons": PERSONS_SCHEMA}
"""The tables."""

TableName = str

_COMMITS_PER_CHECKPOINT = 32
_RUN_ID = "posrefine.run_id"
_FILE_NAME = re.compile(r"[^/]+\.parquet")


def files_of(name: TableName, groups: Sequence[GroupCounts]) -> dict[str, DataFile]:
    """The files that the table `images` or `persons` consists of, by path, as the groups say."""
    wanted = [group.data_file(name) for group in groups if group.file]
    return {file.path: file for file in wanted}


def publish(
    writer: OutputWriter, record: RunRecord, name: TableName, groups: Sequence[GroupCounts], generation: int
) -> int:
    """Make the table consist of the groups' files; the version of it that does.

    Asked for again, it finds that done, and commits nothing.

    Raises:
        OutputLocked: the lease was lost.
    """
    wanted = files_of(name, groups)
    now = writer.output.log(name).snapshot()
    before = writer.output.counts()
    own = before is not None and before.work == writer.output.tree.work
    if before is not None and own and before.generation == now.generation < generation:
        # Another network's tables may have been published last, by a replacement that never came to its end.
        as_it_was = files_of(name, before.groups)
        if now.files != as_it_was:
            _commit(writer, record, name, now, as_it_was, now.generation)
            now = writer.output.log(name).snapshot()
    if 0 < now.generation < generation:
        _keep_replaced(writer, name, now, wanted)
    if now.generation == generation and now.files == wanted:
        return now.version
    return _commit(writer, record, name, now, wanted, generation)


def _keep_replaced(
    writer: OutputWriter, name: TableName, now: Snapshot, wanted: Mapping[str, DataFile]
) -> None:
    """Copy what the next generation replaces to where it is kept for those who ask for an older one."""
    folder = writer.output.tree.table_folder(name)
    for path in now.files:
        if path not in wanted:
            writer.keep(join_uri(folder, path), join_uri(folder, kept_path(path)))


def _commit(
    writer: OutputWriter,
    record: RunRecord,
    name: TableName,
    now: Snapshot,
    wanted: Mapping[str, DataFile],
    generation: int,
) -> int:
    """One commit that turns the files as they are into the wanted ones; its version."""
    commit = Commit(
        app=writer.output.tree.app,
        generation=generation,
        add=tuple(file for path, file in wanted.items() if path not in now.files),
        remove=tuple(file for path, file in now.files.items() if path not in wanted),
        time_ms=time.time_ns() // 1_000_000,
        says={
            "run": record.run_id,
            "model": record.fingerprint.model,
            "weights": record.weights,
            "weights_sha256": record.fingerprint.weights_sha256,
            "lease_generation": str(writer.lock.generation),
        },
    )
    version, log = now.version + 1, writer.output.log(name)
    writer.commit(log.commit_uri(version), encode_commit(commit, _facts(record, name, now)))
    if version % _COMMITS_PER_CHECKPOINT == _COMMITS_PER_CHECKPOINT - 1:
        table = log.snapshot()
        writer.over(log.checkpoint_uri(table.version), encode_checkpoint(table))
        writer.over(log.last_checkpoint_uri, encode_last(table))
    return version


def _facts(record: RunRecord, name: TableName, now: Snapshot) -> TableFacts | None:
    says = {key.decode(): value.decode() for key, value in record.table_metadata().encode().items()}
    known = now.facts.get("metaData")
    if known is not None and known["configuration"].get(_RUN_ID) == says[_RUN_ID]:
        return None
    return TableFacts(str(uuid4()) if known is None else known["id"], name, SCHEMAS[name], says)


def forget_logs(writer: OutputWriter) -> None:
    """Remove the logs of the tables, and what older generations alone consist of.

    Until the tables are published again, they can be read by `_SUCCESS.json` alone.

    Raises:
        OutputLocked: the lease was lost.
    """
    for name in SCHEMAS:
        folder = writer.output.tree.table_folder(name)
        # The last commit first: a log that was cut by a kill is still one.
        for path in sorted(writer.output.table_etags(name), reverse=True):
            if path.startswith((f"{LOG_FOLDER}/", f"{REPLACED_FOLDER}/")):
                writer.remove(join_uri(folder, path))


def files_to_clean(paths: Iterable[str], now: Snapshot) -> dict[str, int | None]:
    """Of the objects below a table's folder those that the table does not consist of any more.

    Args:
        paths: of all objects, below the folder.
        now: the table.

    Returns:
        By path when it was removed from the table, in milliseconds since 1970; None for what never was in it.
    """
    return {
        path: now.removed.get(path) for path in paths if path not in now.files and _FILE_NAME.fullmatch(path)
    }


def clean_tables(writer: OutputWriter, grace_s: float, sleep: Callable[[float], None] = time.sleep) -> int:
    """Remove files that the tables do not consist of any more; how many.

    Those that a reader may still want are waited for: until they were replaced `grace_s` seconds ago.

    Raises:
        OutputLocked: the lease was lost.
    """
    count = 0
    for name in SCHEMAS:
        folder, now = writer.output.tree.table_folder(name), writer.output.log(name).snapshot()
        for path, removed_ms in files_to_clean(writer.output.table_etags(name), now).items():
            if removed_ms is not None:
                age_s = time.time() - removed_ms / 1000
                # A time to come is some clock's fault.
                sleep(max(0.0, min(grace_s, grace_s - age_s)))
            writer.remove(join_uri(folder, path))
            count += 1
    return count
