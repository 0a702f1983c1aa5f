"""Which rows leave the tables: those of images and shards that a later generation found stale or orphaned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.inputs.inventory import known_of_file
from pipeline.inputs.units import UnitKind
from pipeline.output.generations import Generation
from pipeline.output.run_output import RunOutput
from pipeline.output.table_state import Group
from pipeline.storage.uris import join_uri

__all__ = ["RemovedRows"]


@dataclass(frozen=True)
class RemovedRows:
    """Tells which groups lose what.

    Attributes:
        output: of the run.
        generations: all of them, from the first on.
        table_units: units in a group.
    """

    output: RunOutput
    generations: Sequence[Generation]
    table_units: int
    _shapes: dict[int, _Shape] = field(default_factory=dict, repr=False)

    def groups_since(self, generation: int) -> set[Group]:
        """The groups of older generations that lost anything after that generation."""
        found: set[Group] = set()
        for later in self.generations:
            if later.number > generation:
                for groups, _ in self._of(later):
                    found.update(groups)
        return found

    def uris(self, wanted: Collection[Group]) -> Mapping[Group, frozenset[str]]:
        """Of each of these groups the addresses of what it lost: of images of their own, and of shards."""
        found: dict[Group, set[str]] = defaultdict(set)
        oldest = min((generation for generation, _ in wanted), default=0)
        for later in self.generations:
            if later.number > oldest:
                for groups, uri in self._of(later):
                    for group in groups:
                        if group in wanted:
                            found[group].add(uri)
        return {group: frozenset(found[group]) for group in wanted}

    def _of(self, later: Generation) -> Iterator[tuple[list[Group], str]]:
        """The groups of what a generation found stale or orphaned, and its address."""
        if later.gone_digest is None or not later.stale + later.orphaned:
            return
        tree = self.output.of(later.number).tree
        for known in known_of_file(tree.gone(later.gone_digest), self.output.storage):
            uri = join_uri(later.root, known.key)
            shape = self._shape(known.generation)
            numbers = shape.shards.get(uri, [])
            if known.unit is not None:
                numbers = [shape.object_units[known.unit]]
            groups = sorted({number // self.table_units for number in numbers})
            yield [(known.generation, group) for group in groups], uri

    def _shape(self, generation: int) -> _Shape:
        if generation not in self._shapes:
            self._shapes[generation] = _Shape.of(self.output, self.generations[generation - 1])
        return self._shapes[generation]


@dataclass(frozen=True)
class _Shape:
    """Which units of a generation hold what.

    Attributes:
        object_units: numbers of the units of images of their own, counted from the generation's first.
        shards: numbers of the units of each shard, by its address.
    """

    object_units: list[int]
    shards: dict[str, list[int]]

    @staticmethod
    def of(output: RunOutput, generation: Generation) -> _Shape:
        object_units: list[int] = []
        shards: dict[str, list[int]] = {}
        for number, (kind, uri) in enumerate(output.manifest_of(generation).shape()):
            if kind is UnitKind.OBJECTS:
                object_units.append(number)
            else:
                shards.setdefault(uri, []).append(number)
        return _Shape(object_units, shards)
