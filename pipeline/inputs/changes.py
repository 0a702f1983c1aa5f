"""What is new, stale or orphaned in an input, and units for what has to be annotated.

The listing of the input and what is known of it are both in key order, so comparing them is a merge: neither
is ever held.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.inputs.cutting import CutOptions, cut_objects, key_below, open_input, unit_name
from pipeline.inputs.inventory import Known, KnownWriter
from pipeline.inputs.manifest import ManifestSummary, write_units
from pipeline.inputs.selection import Form, Selection
from pipeline.inputs.units import Unit, UnitKind
from pipeline.storage import ObjectInfo, Storage
from posrefine.errors import StorageError

__all__ = ["Changes", "changes_in_words", "changes_of", "compared"]

_FORMS = frozenset(Form)


@dataclass(frozen=True)
class Changes:
    """What became of an input since it was last looked at.

    Attributes:
        root: the folder that keys of the input are relative to.
        new: images and shards that were not there.
        stale: that are others by now.
        orphaned: that are gone.
        known: images and shards that the output holds once the new and stale ones are annotated.
        objects: those of them that are images of their own.
        oldest_s: when the oldest of the new and stale ones was written, in seconds since 1970; None where
            there are none, or the store does not tell.
        units: what of them has to be annotated: their list is `manifest`.
        manifest: local file.
        inventory: local file of all that is known then.
        gone: local file of what was known and is stale or orphaned.
    """

    root: str
    new: int
    stale: int
    orphaned: int
    known: int
    objects: int
    oldest_s: float | None
    units: ManifestSummary
    manifest: Path
    inventory: Path
    gone: Path

    def __bool__(self) -> bool:
        return bool(self.new or self.stale or self.orphaned)

    def in_words(self) -> str:
        """As in `3 new, 1 stale, 0 orphaned`."""
        return changes_in_words(self.new, self.stale, self.orphaned)


def changes_in_words(new: int, stale: int, orphaned: int) -> str:
    """As in `3 new, 1 stale, 0 orphaned`."""
    return f"{new:,} new, {stale:,} stale, {orphaned:,} orphaned"


@contextmanager
def changes_of(
    input_uri: str,
    storage: Storage,
    options: CutOptions,
    known_below: Callable[[str], Iterator[Known]],
    generation: int,
    first_unit: int,
) -> Iterator[Changes]:
    """Compare an input with what is known of it; the local files are gone after the block.

    Args:
        input_uri: the input.
        storage: of it.
        options: how new and stale images and shards are cut into units.
        known_below: what an output holds of it, in key order; keys are relative to the folder it is given.
        generation: that will take the units.
        first_unit: number of the first of them.

    Raises:
        StorageError: the input cannot be listed, or not in the order of its keys.
    """
    with tempfile.TemporaryDirectory(prefix="posrefine-changes-") as folder:
        paths = [Path(folder, f"{name}.parquet") for name in ("manifest", "inventory", "gone")]
        with KnownWriter(paths[1]) as inventory, KnownWriter(paths[2]) as gone:
            comparing = _Comparing(generation, inventory, gone)
            root, objects = open_input(input_uri, storage, options.selection)
            changed = comparing.changed(root, objects, known_below(root), options.selection)
            units = comparing.counted(
                cut_objects(root, changed, storage, options, comparing.skipped, []), first_unit
            )
            summary = write_units(paths[0], units, comparing.skipped, first_unit)
        yield Changes(
            root=root,
            new=comparing.new,
            stale=comparing.stale,
            orphaned=comparing.orphaned,
            known=inventory.count,
            objects=comparing.objects,
            oldest_s=comparing.oldest_s,
            units=summary,
            manifest=paths[0],
            inventory=paths[1],
            gone=paths[2],
        )


def compared(
    listed: Iterator[tuple[str, ObjectInfo]], known: Iterator[Known]
) -> Iterator[tuple[str, ObjectInfo | None, Known | None]]:
    """Both streams side by side, in key order: what is listed and what is known under each key.

    Raises:
        StorageError: keys are not in order.
    """
    found, old, last = next(listed, None), next(known, None), ""
    while found is not None or old is not None:
        if old is None or (found is not None and found[0] < old.key):
            assert found is not None
            key, now, before = found[0], found[1], None
        elif found is None or old.key < found[0]:
            key, now, before = old.key, None, old
        else:
            key, now, before = found[0], found[1], old
        if key < last:
            raise StorageError(
                f"{key}: came after {last}; keys must be listed in the order of their bytes, which this "
                "store does not: use `run` with a new output instead"
            )
        last = key
        yield key, now, before
        if now is not None:
            found = next(listed, None)
        if before is not None:
            old = next(known, None)


class _Comparing:
    """Counts and writes down what the comparison finds, while units are cut of it."""

    def __init__(self, generation: int, inventory: KnownWriter, gone: KnownWriter) -> None:
        self._generation, self._inventory, self._gone = generation, inventory, gone
        self.new = self.stale = self.orphaned = self.objects = 0
        self.oldest_s: float | None = None
        self.skipped: Counter[str] = Counter()
        self._object_units = self._shard_units = 0

    def changed(
        self, root: str, objects: Iterator[ObjectInfo], known: Iterator[Known], selection: Selection
    ) -> Iterator[ObjectInfo]:
        """What has to be annotated; everything else is seen to on the way."""
        for key, found, old in compared(self._input(root, objects, selection), known):
            if found is None:
                assert old is not None
                self.orphaned += 1
                self._gone.add(old)
            elif old is not None and old.etag == found.etag:
                self.objects += old.unit is not None
                self._inventory.add(old)
            else:
                is_image = selection.of_object(key) == Form.IMAGE
                units_before = self._shard_units
                if old is not None:
                    self._gone.add(old)
                yield found
                # Whoever cuts has taken it by now: an image waits for the unit that is filled next, a
                # shard's units are out. One without any holds no images.
                if not is_image and self._shard_units == units_before:
                    self.orphaned += old is not None
                    continue
                self.objects += is_image
                if found.modified_s is not None:
                    self.oldest_s = min(found.modified_s, self.oldest_s or found.modified_s)
                self.new += old is None
                self.stale += old is not None
                number = self._object_units if is_image else None
                self._inventory.add(Known(key, found.etag, self._generation, number))

    def counted(self, units: Iterator[Unit], first_unit: int) -> Iterator[Unit]:
        """The units with their ids, while the kinds of those that are out are counted."""
        for number, unit in enumerate(units, start=first_unit):
            if unit.kind is UnitKind.OBJECTS:
                self._object_units += 1
            else:
                self._shard_units += 1
            yield replace(unit, unit_id=unit_name(number))

    def _input(
        self, root: str, objects: Iterator[ObjectInfo], selection: Selection
    ) -> Iterator[tuple[str, ObjectInfo]]:
        for found in objects:
            key = key_below(root, found.uri)
            form = selection.of_object(key)
            if form in _FORMS:
                yield key, found
            else:
                self.skipped[form] += 1
