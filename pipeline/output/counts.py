"""What the tables of a run hold, as `tables/_SUCCESS.json` says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.output.delta import DataFile
from pipeline.output.layout import WORK
from pipeline.output.measures import Measures
from pipeline.output.numbers import Count, Ordinal
from pipeline.output.person_count import PersonCount
from posrefine.errors import ImageStatus

__all__ = ["GroupCounts", "TableCounts"]


Work = Annotated[str, Field(pattern=WORK)]


class GroupCounts(BaseModel):
    """What the files of one group hold, and what they were made from.

    Attributes:
        generation: that its units belong to.
        group: number of the group among those of its generation.
        file: name of its files in `tables/images` and `tables/persons`; empty where nothing of it is left.
        first_unit: id.
        last_unit: id.
        units: number of its units.
        images: by status.
        objects: images that are objects of their own, and not in a shard.
        reviewed: images that people corrected.
        left_out: rows of its units that are in no file, because a later generation found their images stale
            or orphaned.
        persons: with a score of at least `min_score`.
        persons_below: the others.
        broken_shards: as in `TableCounts`.
        skipped: members of its tars that are none, by suffix.
        measures: of all images of its units, those that left it later included.
        units_digest: SHA-256 over ids and etags of the unit files that the tables were made from.
        images_etag: of the file in `tables/images`.
        persons_etag: of the file in `tables/persons`.
        images_bytes: its size.
        persons_bytes: its size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: Ordinal
    group: Count
    file: str
    first_unit: str
    last_unit: str
    units: Count
    images: dict[ImageStatus, Count]
    objects: Count
    reviewed: Count = 0
    left_out: Count
    persons: Count
    persons_below: Count
    broken_shards: Count
    skipped: dict[str, Count] = {}
    measures: Measures = Measures()
    units_digest: str
    images_etag: str
    persons_etag: str
    images_bytes: Count
    persons_bytes: Count

    def data_file(self, table: str) -> DataFile:
        """Its file in the table `images` or `persons`."""
        if table == "images":
            return DataFile(self.file, self.images_bytes, sum(self.images.values()))
        return DataFile(self.file, self.persons_bytes, self.persons + self.persons_below)


class TableCounts(BaseModel):
    """What `_SUCCESS.json` says: the tables are complete, and hold this.

    Attributes:
        generation: that they hold.
        images_version: version of the Delta table `tables/images` that holds it.
        persons_version: version of `tables/persons` that belongs to it.
        manifest_digest: of the manifest that the counts were checked against.
        units: units in the tables, all of the manifest's.
        images: images in the tables, each once.
        ok: those with keypoints, or without people.
        failed: the others, by status; `images` = `ok` + their sum.
        min_score: of the run: from it on persons are counted.
        persons: rows of `tables/persons` with at least this score.
        persons_below: the other rows.
        reviewed: images whose rows are people's.
        human_version: entries of the log of people's corrections that the tables were made with.
        broken_shards: failed rows that stand for the unreadable rest of a tar or Parquet file, and so for an
            unknown number of images.
        left_out: rows of units that are in no table, because their images were stale or orphaned later.
        skipped: objects below the input, and members of its tars, that are none and in no table, by suffix.
        groups: the same by file.
        note: what must be known about the network's poses, such as that they mean nothing.
        lease_generation: of the lease under which the tables were finished.
        work: folder, below the output, of the record and the units that the tables were made from.
        replaced: the one before, which may still have to be removed; None where there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: Ordinal
    images_version: Count
    persons_version: Count
    manifest_digest: str
    units: Count
    images: Count
    ok: Count
    failed: dict[ImageStatus, Count]
    min_score: float
    persons: Count
    persons_below: Count
    reviewed: Count = 0
    human_version: Count = 0
    broken_shards: Count
    left_out: Count
    skipped: dict[str, Count] = {}
    groups: tuple[GroupCounts, ...]
    note: str | None = None
    lease_generation: Count | None = None
    work: Work = ""
    replaced: Work | None = None

    def version_of(self, table: str) -> int:
        """Of the table `images` or `persons`."""
        return self.images_version if table == "images" else self.persons_version

    def of_generation(self, generation: int) -> tuple[int, int, int]:
        """Images that the units of a generation left in the tables, those of them that failed, and shards
        among these."""
        own = [group for group in self.groups if group.generation == generation]
        images = sum(sum(group.images.values()) for group in own)
        ok = sum(group.images.get(ImageStatus.OK, 0) for group in own)
        return images, images - ok, sum(group.broken_shards for group in own)

    @property
    def people(self) -> PersonCount:
        """The persons, counted and below."""
        return PersonCount(self.persons, self.persons_below)

    @property
    def by_status(self) -> dict[str, int]:
        """Images by status."""
        return {"ok": self.ok} | {status.value: count for status, count in self.failed.items()}
