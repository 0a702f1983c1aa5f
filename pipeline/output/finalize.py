"""From unit files to the tables: groups of units become files, and `_SUCCESS.json` comes last.

Group i of the units, in the manifest's order, makes a file of each table. Memory is
bounded by one group, in every process that writes some.

`_SUCCESS.json` says which unit files each file was made from, which files were made, which versions of the
two tables consist of them, and how many entries the log of people's corrections had, which are laid over the
units' rows. What does not agree with what lies there (images were tried again or corrected; a run that had
lost its lease wrote late) is made anew, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inputs.manifest import Manifest
from pipeline.output.counts import GroupCounts, TableCounts
from pipeline.output.generations import Generation
from pipeline.output.group import GroupUnits, GroupWriter
from pipeline.output.human_rows import HumanRows
from pipeline.output.publish import SCHEMAS, publish
from pipeline.output.published_rows import PublishedRows
from pipeline.output.record import RunRecord
from pipeline.output.removed_rows import RemovedRows
from pipeline.output.run_output import RunOutput
from pipeline.output.table_state import Group, TableState
from pipeline.output.writer import OutputWriter
from pipeline.storage.object_file import damage_named, open_parquet
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ImageStatus, InvariantBroken

__all__ = ["WriteGroups", "finalize", "in_this_process", "tables_are_current"]

WriteGroups = Callable[[GroupWriter, Iterable[GroupUnits], int], Iterator[GroupCounts]]
"""Writes so many groups, which may be made as they are asked for; their counts come in any order."""

# What left them is held for so many groups at a time.
_GROUPS_AT_ONCE = 16
_FILES_AT_ONCE = 8


def in_this_process(writer: GroupWriter, groups: Iterable[GroupUnits], _count: int) -> Iterator[GroupCounts]:
    """Writes one group after the other."""
    return map(writer.write, groups)


def finalize(
    writer: OutputWriter,
    record: RunRecord,
    manifest: Manifest,
    later: Sequence[Generation] = (),
    *,
    write: WriteGroups = in_this_process,
) -> TableCounts:
    """Bring the tables of an output whose units are all there up to date; writes only what differs.

    Args:
        writer: of the output.
        record: of the run.
        manifest: of the run, the first generation.
        later: generations after it.
        write: writes the groups that differ, here or elsewhere.

    Raises:
        ConfigurationError: units are missing.
        InvariantBroken: rows and manifests do not agree.
        ShardError: a unit's file is damaged, or of another run.
        OutputLocked: the lease was lost.
    """
    output, generations = writer.output, [Generation.first(record), *later]
    found = output.counts()
    replaced = None if found is None else found.replaced
    human = output.human_rows()
    if found is not None:
        human = replace(human, published=(PublishedRows(output).of, found.human_version))
    human.say_what_is_missing()
    if found is not None and found.work != output.tree.work:
        # They are of the network that is being replaced.
        replaced = found.work
        found = None
    standing = TableState.of(output, generations, record.table_units, found, human.version)
    if found is not None and standing.is_current:
        return found
    gone = RemovedRows(output, generations, record.table_units)
    groups = dict(standing.current)
    for key in gone.groups_since(found.generation) if found is not None else ():
        groups.pop(key, None)
    if found is not None:
        for key in _groups_with(output, groups, human.changed_since(found.human_version)):
            groups.pop(key)
    wanted = [key for key in standing.units if key not in groups]
    standing.require_units(output, wanted)
    files = GroupWriter(output, writer.lock, record, human)
    for made in write(
        files, _group_units(output, manifest, generations, standing, gone, wanted), len(wanted)
    ):
        groups[made.generation, made.group] = made
    ordered = tuple(groups[key] for key in standing.units)
    counts = _add_up(ordered, record, generations, human)
    versions = {name: publish(writer, record, name, ordered, counts.generation) for name in SCHEMAS}
    said = {f"{name}_version": version for name, version in versions.items()}
    return writer.success(counts.model_copy(update={**said, "work": output.tree.work, "replaced": replaced}))


def tables_are_current(output: RunOutput, record: RunRecord, later: Sequence[Generation] = ()) -> bool:
    """Whether there are tables, made from the units as they are, and nothing that they replaced; so are
    tables whose units were deleted."""
    found = output.counts()
    if found is None:
        return False
    human_version = output.human_rows().version
    standing = TableState.of(
        output, [Generation.first(record), *later], record.table_units, found, human_version
    )
    return standing.is_current and standing.is_clean


def _groups_with(
    output: RunOutput, groups: Mapping[Group, GroupCounts], images: frozenset[str]
) -> list[Group]:
    """The groups whose files hold any of the images with these sha256."""
    if not images:
        return []
    wanted = pa.array(sorted(images), pa.string())

    def holds(group: GroupCounts) -> bool:
        if not group.file:
            return False
        uri = output.tree.table("images", group.file)
        file = open_parquet(output.storage, uri, group.images_bytes, group.images_etag)
        with damage_named(uri):
            found = file.read(columns=["sha256"], use_threads=False)["sha256"]
        return bool(pc.any(pc.is_in(found, value_set=wanted)).as_py())

    held = map_in_order(holds, groups.values(), _FILES_AT_ONCE)
    return [key for key, is_held in zip(groups, held, strict=True) if is_held]


def _group_units(
    output: RunOutput,
    manifest: Manifest,
    generations: Sequence[Generation],
    standing: TableState,
    gone: RemovedRows,
    wanted: Sequence[Group],
) -> Iterator[GroupUnits]:
    table_units = gone.table_units
    for some in _batches(wanted):
        left = gone.uris(some)
        for generation, index in some:
            own = manifest if generation == 1 else output.manifest_of(generations[generation - 1])
            units = list(own.units(index * table_units, table_units))
            etags = {unit.unit_id: standing.etags[unit.unit_id] for unit in units}
            yield GroupUnits(generation, index, units, etags, left[generation, index])


def _batches(groups: Sequence[Group]) -> Iterator[list[Group]]:
    waiting = iter(groups)
    while some := list(islice(waiting, _GROUPS_AT_ONCE)):
        yield some


def _add_up(
    groups: tuple[GroupCounts, ...],
    record: RunRecord,
    generations: Sequence[Generation],
    human: HumanRows,
) -> TableCounts:
    images: Counter[ImageStatus] = Counter()
    skipped = Counter(generations[-1].skipped)
    for group in groups:
        images.update(group.images)
        skipped.update(group.skipped)
    units, planned = (sum(one.units for one in many) for many in (groups, generations))
    if units != planned:
        raise InvariantBroken(f"the tables hold {units} units; the manifests have {planned}")
    last = generations[-1]
    objects = sum(group.objects for group in groups)
    if last.objects not in (None, objects):
        raise InvariantBroken(
            f"the tables hold {objects} images that are objects of their own; generation {last.number} was "
            f"planned for {last.objects}"
        )
    return TableCounts(
        generation=last.number,
        images_version=0,
        persons_version=0,
        manifest_digest=record.manifest_digest,
        units=units,
        images=images.total(),
        ok=images[ImageStatus.OK],
        failed={status: count for status, count in sorted(images.items()) if status is not ImageStatus.OK},
        min_score=record.min_score,
        persons=sum(group.persons for group in groups),
        persons_below=sum(group.persons_below for group in groups),
        reviewed=sum(group.reviewed for group in groups),
        human_version=human.version,
        broken_shards=sum(group.broken_shards for group in groups),
        left_out=sum(group.left_out for group in groups),
        skipped=dict(sorted(skipped.items())),
        groups=groups,
        note=record.note,
    )
