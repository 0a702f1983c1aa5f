"""What people's corrections of an output are: a log of imports and undos, which nothing is deleted from.

An entry is one put of a number that is free, below `review/log/`: it is the commit of an import whose rows
lie below `review/imports/`, and the tables name the number of entries that they were made with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.output.layout import OutputTree
from pipeline.settings.problems import problems_of
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ConfigurationError, InvariantBroken

__all__ = ["HumanEntry", "HumanImport", "HumanLog"]

_READERS = 16
_ENTRY = re.compile(r"(\d{8})\.json")


class HumanImport(BaseModel):
    """One reviewer's rows of one import.

    Attributes:
        digest: SHA-256 over what the reviewer said; its rows lie under this name.
        reviewer: who looked.
        images: in it.
        persons: in them.
        keys: the sha256 of its images, each with the key that it had: known even where the rows are lost.
            None in entries of 0.2.0, of which the rows say it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    reviewer: str
    images: int
    persons: int
    keys: dict[str, str] | None = None


class HumanEntry(BaseModel):
    """What `review/log/….json` says.

    Attributes:
        kind: whether these imports count from now on, or do not any more.
        imports: of two that hold the same image, the later one counts.
        files: that were imported, as they were named.
        at: when.
        lease_generation: of the lease under which it was written.
        code_version: of the code that wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["import", "undo"]
    imports: tuple[HumanImport, ...]
    files: tuple[str, ...] = ()
    at: datetime
    lease_generation: int
    code_version: str

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()


@dataclass(frozen=True)
class HumanLog:
    """Reads the log of people's corrections. Cheap to make: nothing is read before it is asked for.

    Attributes:
        storage: of the output.
        tree: of the output.
    """

    storage: Storage
    tree: OutputTree

    @cached_property
    def version(self) -> int:
        """How many entries there are.

        Raises:
            InvariantBroken: one was removed.
        """
        return len(self._uris)

    @cached_property
    def entries(self) -> tuple[HumanEntry, ...]:
        """All entries, in order.

        Raises:
            ConfigurationError: one was not written by this version.
            InvariantBroken: one was removed.
        """
        found = []
        data = map_in_order(self.storage.read_bytes, self._uris, _READERS)
        for uri, read in zip(self._uris, data, strict=True):
            try:
                found.append(HumanEntry.model_validate_json(read))
            except ValidationError as error:
                raise ConfigurationError(
                    f"{uri}: no log entry of this version ({problems_of(error)})"
                ) from error
        return tuple(found)

    def active(self, version: int | None = None) -> list[HumanImport]:
        """The imports that count after so many entries, by default all: from the oldest to the newest.

        Raises:
            InvariantBroken: there are fewer entries than that.
        """
        if version is not None and version > self.version:
            raise InvariantBroken(
                f"{self.tree.human_log}: holds {self.version} entries, and the tables were made with "
                f"{version}; one was removed: put it back"
            )
        counting: dict[str, HumanImport] = {}
        for entry in self.entries[:version]:
            for one in entry.imports:
                if entry.kind == "undo":
                    counting.pop(one.digest, None)
                else:
                    counting.setdefault(one.digest, one)
        return list(counting.values())

    def ever(self) -> list[HumanImport]:
        """All imports that were made, undone ones too, each once."""
        found = {one.digest: one for entry in self.entries for one in entry.imports}
        return list(found.values())

    def next_uri(self) -> str:
        """Where the next entry will lie."""
        return self.tree.human_entry(self.version)

    @cached_property
    def _uris(self) -> list[str]:
        uris = [
            info.uri
            for info in self.storage.list(self.tree.human_log)
            if _ENTRY.fullmatch(info.uri.removeprefix(f"{self.tree.human_log}/"))
        ]
        if uris != [self.tree.human_entry(number) for number in range(len(uris))]:
            raise InvariantBroken(f"{self.tree.human_log}: entry {_first_gap(self.tree, uris)} was removed")
        return uris


def _first_gap(tree: OutputTree, uris: list[str]) -> int:
    return next(number for number in range(len(uris)) if tree.human_entry(number) not in uris)
