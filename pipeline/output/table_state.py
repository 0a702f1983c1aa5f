"""What a listing of an output says about its tables: which of them are as its units are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.output.counts import GroupCounts, TableCounts
from pipeline.output.generations import Generation
from pipeline.output.publish import SCHEMAS, files_of, files_to_clean
from pipeline.output.run_output import RunOutput
from posrefine.errors import ConfigurationError, InvariantBroken

__all__ = ["Group", "TableState", "digest_of_units"]

Group = tuple[int, int]
"""A generation, and the number of a group of its units."""


@dataclass(frozen=True)
class TableState:
    """What a listing of the output says about its tables.

    Attributes:
        etags: of the units' files, by unit.
        strange: units that no manifest has.
        units: of each group, in order.
        current: counts of the groups whose files were made from the units as they are.
        is_published: whether the logs of the tables say what `_SUCCESS.json` says.
        is_clean: whether the tables' folders hold nothing else.
    """

    etags: dict[str, str]
    strange: tuple[str, ...]
    units: dict[Group, list[str]]
    current: dict[Group, GroupCounts]
    is_published: bool
    is_clean: bool

    @staticmethod
    def of(
        output: RunOutput,
        generations: Sequence[Generation],
        table_units: int,
        found: TableCounts | None,
        human_version: int,
    ) -> TableState:
        """How an output stands.

        Args:
            output: of the run.
            generations: that its tables are to hold.
            table_units: units in a group.
            found: what its tables say they hold.
            human_version: entries of the log of people's corrections.
        """
        etags = output.unit_etags(generations[-1].number)
        tables = {name: output.table_etags(name) for name in SCHEMAS}
        logs = {name: output.log(name).snapshot() for name in SCHEMAS}
        units: dict[Group, list[str]] = {}
        # Units may be deleted once the tables are there; then the tables stand for themselves.
        deleted = set[int]()
        for generation in generations:
            ids = generation.unit_ids
            if etags.keys().isdisjoint(ids):
                deleted.add(generation.number)
            for start in range(0, len(ids), table_units):
                units[generation.number, start // table_units] = ids[start : start + table_units]

        def is_current(key: Group, group: GroupCounts) -> bool:
            made_from = digest_of_units((unit_id, etags.get(unit_id, "")) for unit_id in units[key])
            return (key[0] in deleted or group.units_digest == made_from) and (
                not group.file
                or (
                    tables["images"].get(group.file) == group.images_etag
                    and tables["persons"].get(group.file) == group.persons_etag
                )
            )

        groups = {} if found is None else {(group.generation, group.group): group for group in found.groups}
        return TableState(
            etags=etags,
            strange=tuple(sorted(etags.keys() - {unit_id for ids in units.values() for unit_id in ids})),
            units=units,
            current={key: group for key, group in groups.items() if key in units and is_current(key, group)},
            is_published=found is not None
            and found.generation == generations[-1].number
            and found.human_version == human_version
            and all(
                (log.version, log.generation) == (found.version_of(name), found.generation)
                and log.files == files_of(name, found.groups)
                for name, log in logs.items()
            ),
            is_clean=not any(files_to_clean(tables[name], log) for name, log in logs.items()),
        )

    @property
    def is_current(self) -> bool:
        """Whether finished tables are as they should be; also where their units were deleted since."""
        return self.is_published and self.current.keys() == self.units.keys()

    def require_units(self, output: RunOutput, groups: Iterable[Group]) -> None:
        """Raise unless all units of these groups have files, and no units are there that no manifest has."""
        if self.strange:
            raise InvariantBroken(
                f"{output.tree.units}: {len(self.strange)} units are not in the manifest, as "
                f"{self.strange[0]}; only the run that owns the output may write there"
            )
        missing = [unit_id for key in groups for unit_id in self.units[key] if unit_id not in self.etags]
        if missing:
            count = sum(len(ids) for ids in self.units.values())
            raise ConfigurationError(
                f"{output.uri}: {len(missing)} of {count} units are not finished, as {missing[0]}; `run` it "
                "to the end, or `sync` it where it is a later generation's"
            )


def digest_of_units(units: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over ids and etags of unit files, in order."""
    digest = hashlib.sha256()
    for unit_id, etag in units:
        digest.update(f"{unit_id} {etag}\n".encode())
    return digest.hexdigest()
