"""Which files below an output hold every finished image once: its tables if finished, else its units."""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline.output.counts import TableCounts
from pipeline.output.files import RunFile, TableFile, list_tables, list_units, table_file
from pipeline.output.generations import FIRST_GENERATION
from pipeline.output.human_rows import HumanRows
from pipeline.output.parquet import decode_stored
from pipeline.output.place import Place
from pipeline.output.rows import RunRows
from pipeline.output.schema import metadata_values
from pipeline.output.table_log import TableLog
from posrefine.errors import ConfigurationError, InvariantBroken
from posrefine.skeletons import SKELETONS

__all__ = ["open_rows"]


def open_rows(
    place: Place,
    counts: TableCounts | None,
    as_of: int | None,
    *,
    people: HumanRows | None,
    units_first: bool,
) -> RunRows:
    """The files of a generation (None: of the last one), and what the first of them says of the run.

    Tables whose `_SUCCESS.json` was not copied with them are taken where nothing else is there.

    Args:
        place: the output.
        counts: of finished tables; None where they are not finished.
        as_of: the generation whose rows are wanted.
        people: whose rows are replaced by the network's; None where they count.
        units_first: take the units as long as there are any: smaller files, to be shared out.

    Raises:
        ConfigurationError: there are none, or they were not written by a run of this version.
        InvariantBroken: the tables of images and of persons do not belong together.
        ShardError: the first of them is damaged.
        StorageError: they cannot be listed or read.
    """
    tree = place.tree
    files: tuple[RunFile, ...] = ()
    # Later generations have taken rows out of the tables that are in units, and people's are in no unit.
    by_units = counts is None or (
        units_first and counts.generation == FIRST_GENERATION and (people is not None or not counts.reviewed)
    )
    if as_of is None and by_units:
        files = tuple(list_units(place))
    if counts is not None:
        files = files or _table_files(place, counts, as_of)
    elif as_of is None:
        files = files or tuple(list_tables(place))
    if not files and counts is not None:
        raise ConfigurationError(
            f"{tree.root}: the tables of generation {as_of or counts.generation} are empty"
        )
    if not files and as_of is not None:
        raise ConfigurationError(
            f"{tree.root}: its tables are not finished (no tables/_SUCCESS.json), so they have no generation "
            f"{as_of} to read; `sync` it to the end, or leave --as-of"
        )
    if not files:
        raise ConfigurationError(
            f"{tree.root}: no units/*.parquet or tables/images/*.parquet below it; name the output of a "
            "run with at least one finished unit"
        )
    return replace(_opened(place, files, as_of), counts=counts, people=people)


def _table_files(place: Place, counts: TableCounts, as_of: int | None) -> tuple[TableFile, ...]:
    """The files of finished tables, in order, as `_SUCCESS.json` names them.

    Those of an older generation are named by the tables' logs.
    """
    storage, tree = place.storage, place.tree
    if as_of is None or as_of == counts.generation:
        return tuple(
            table_file(tree, group.file, sum(group.images.values())) for group in counts.groups if group.file
        )
    if as_of > counts.generation:
        # The logs may have one that a sync which was killed had not finished.
        raise ConfigurationError(
            f"{tree.tables}: no generation {as_of}; the last one is {counts.generation} (`status` lists them)"
        )
    images, persons = (
        TableLog(storage, tree.table_folder(name), tree.app).as_of(as_of) for name in ("images", "persons")
    )
    # Files of a name belong together, wherever each is kept.
    if [_name(path) for path in images] != [_name(path) for path in persons]:
        raise InvariantBroken(f"{tree.tables}: the tables of generation {as_of} differ")
    return tuple(
        TableFile(tree.table("images", one), tree.table("persons", other))
        for one, other in zip(images, persons, strict=True)
    )


def _name(path: str) -> str:
    """Of a table's file, wherever it is kept."""
    return path.rpartition("/")[2]


def _opened(place: Place, files: tuple[RunFile, ...], as_of: int | None) -> RunRows:
    first, storage = files[0].uri, place.storage
    data = storage.read_bytes(first)
    values = metadata_values(decode_stored(first, data, ["image_key"]).schema.metadata)
    name = values.get("skeleton")
    if name not in SKELETONS:
        raise ConfigurationError(
            f"{first}: metadata name the skeleton {name!r}, expected one of {', '.join(SKELETONS)}; "
            "the file was not written by a run of this version"
        )
    return RunRows(
        uri=place.tree.root,
        skeleton=SKELETONS[name],
        model=values.get("model", ""),
        weights=values.get("weights", ""),
        weights_sha256=values.get("weights_sha256", ""),
        code_version=values.get("code_version", ""),
        run_id=values.get("run_id", ""),
        settings=json.loads(values.get("settings", "{}")),
        note=values.get("note"),
        files=files,
        storage=storage,
        as_of=as_of,
        opened={first: data},
    )
