"""The log of one table as it lies in the store: `_delta_log/` below the table's folder."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.output.delta import Snapshot, replay
from pipeline.output.delta_checkpoint import decode_checkpoint
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from pipeline.storage.uris import join_uri
from posrefine.errors import ConfigurationError

__all__ = ["LOG_FOLDER", "REPLACED_FOLDER", "TableLog", "kept_path"]

LOG_FOLDER = "_delta_log"
REPLACED_FOLDER = "_replaced"
"""Of files that older generations alone consist of."""

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
_READERS = 16


@dataclass(frozen=True)
class TableLog:
    """Reads the log of the table in a folder.

    Attributes:
        storage: of the table.
        folder: of the table, with its files.
        app: whose generations are meant.
    """

    storage: Storage
    folder: str
    app: str

    def commit_uri(self, version: int) -> str:
        """Where the commit of that number lies, or will lie."""
        return join_uri(self.folder, LOG_FOLDER, f"{version:020d}.json")

    def checkpoint_uri(self, version: int) -> str:
        """Where the checkpoint of that version lies, or will lie."""
        return join_uri(self.folder, LOG_FOLDER, f"{version:020d}.checkpoint.parquet")

    @property
    def last_checkpoint_uri(self) -> str:
        """What leads other readers to the last checkpoint."""
        return join_uri(self.folder, LOG_FOLDER, "_last_checkpoint")

    def snapshot(self) -> Snapshot:
        """The table as it is now."""
        commits, checkpoints = self._listed()
        start = Snapshot()
        if checkpoints:
            uri = self.checkpoint_uri(checkpoints[-1])
            start = decode_checkpoint(uri, checkpoints[-1], self.storage.read_bytes(uri), self.app)
        later = [commit for commit in commits if commit[0] > start.version]
        last = deque(self._replayed(start, later), maxlen=1)
        return last[0] if last else start

    def as_of(self, generation: int) -> list[str]:
        """The files of the table as that generation left it, by their paths now, in order of their names.

        Raises:
            ConfigurationError: the log has no such generation, or files of it are gone.
        """
        # A network that was being replaced, or that was to replace it, may have published in between.
        last = {then.generation: then for then in self.history() if then.app == self.app}
        # Looked for after the log was read: files are kept before a commit removes them.
        there = {info.uri.removeprefix(self.folder).lstrip("/") for info in self.storage.list(self.folder)}
        paths = {
            number: [kept if (kept := kept_path(path)) in there else path for path in sorted(then.files)]
            for number, then in last.items()
        }
        readable = [number for number, wanted in paths.items() if there.issuperset(wanted)]
        if generation in readable:
            return paths[generation]
        has = f"it has {', '.join(map(str, sorted(readable)))}" if readable else "it has none"
        if generation in paths:
            gone = min(set(paths[generation]) - there)
            raise ConfigurationError(
                f"{self.folder}: generation {generation} cannot be read, as {gone} is gone; {has} (the "
                "network may have been replaced by a command that was killed and went on later: what it had "
                "published in between is not kept)"
            )
        raise ConfigurationError(
            f"{self.folder}: no generation {generation}; {has} (`status` lists them; `finalize --rebuild` "
            "keeps the last one alone)"
        )

    def history(self) -> Iterator[Snapshot]:
        """The table after each commit, from the first on.

        Raises:
            ShardError: the log is damaged.
        """
        return self._replayed(Snapshot(), self._listed()[0])

    def _listed(self) -> tuple[list[tuple[int, str]], list[int]]:
        """Commits with their addresses, and checkpoints, both in order."""
        commits, checkpoints = list[tuple[int, str]](), list[int]()
        for info in self.storage.list(join_uri(self.folder, LOG_FOLDER)):
            name = info.uri.rpartition("/")[2]
            if match := _COMMIT.fullmatch(name):
                commits.append((int(match[1]), info.uri))
            elif match := _CHECKPOINT.fullmatch(name):
                checkpoints.append(int(match[1]))
        return commits, checkpoints

    def _replayed(self, start: Snapshot, found: list[tuple[int, str]]) -> Iterator[Snapshot]:
        data = map_in_order(lambda commit: self.storage.read_bytes(commit[1]), found, _READERS)
        commits = ((*commit, read) for commit, read in zip(found, data, strict=True))
        return replay(start, commits, self.app)


def kept_path(path: str) -> str:
    """Where a file of a table is once a later generation has replaced it."""
    return f"{REPLACED_FOLDER}/{path}"
