"""What a network leaves behind when another one has taken its place in an output."""

from __future__ import annotations

from dataclasses import replace

from pipeline.output.counts import TableCounts
from pipeline.output.layout import OutputTree
from pipeline.output.publish import SCHEMAS
from pipeline.output.table_log import REPLACED_FOLDER
from pipeline.output.writer import OutputWriter
from pipeline.storage.uris import join_uri

__all__ = ["remove_replaced"]


def remove_replaced(writer: OutputWriter, tables: TableCounts) -> None:
    """Remove the record, lists and units of the network before, and what its generations alone consisted of.

    Its record goes last: where it is gone, all is.

    Raises:
        OutputLocked: the lease was lost.
    """
    if tables.replaced is None:
        return
    now = writer.output.tree
    before = replace(writer.output, tree=replace(now, work=tables.replaced))
    record = before.record()
    if record is None:
        return
    _remove_kept(writer)
    # The new one was an output of its own while it was made.
    alone = OutputTree(now.base)
    for folder in (before.tree.generations, before.tree.units, alone.tables):
        for info in before.storage.list(folder):
            writer.remove(info.uri)
    for uri in (alone.outcome, alone.lock, before.tree.manifest(record.manifest_digest), before.tree.run):
        writer.remove(uri)


def _remove_kept(writer: OutputWriter) -> None:
    """Of files that were kept for older generations, remove those of the network before."""
    for name in SCHEMAS:
        log = writer.output.log(name)
        own = {path for version in log.history() if version.app == log.app for path in version.files}
        folder = join_uri(writer.output.tree.table_folder(name), REPLACED_FOLDER)
        for info in writer.output.storage.list(folder):
            if info.uri.rpartition("/")[2] not in own:
                writer.remove(info.uri)
