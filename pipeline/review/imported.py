"""What an import and an undo did, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.output.human_log import HumanImport
from pipeline.review.edits import Edits
from pipeline.review.given import REVIEWED
from posrefine.skeletons import Skeleton

__all__ = ["Imported", "Undone"]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        skeleton: of the run.
        imports: those that were added; none where all was there already.
        restored: those that were there, and whose lost rows are stored again.
        images: answers that were taken in, or were there.
        unchanged: places of answers that are exactly what was given out, without a mark that somebody looked.
        unchanged_is_reviewed: whether these were taken in.
        by_key: those of them that were found by key, because the tool lost the sha256.
        gone: places of answers about images that the tables do not hold any more.
        unseen: places of answers without anybody about images that failed.
        edits: what reviewers did with the persons, by reviewer.
        reviewed: images that are corrected now, in all.
        outdone: images of which answers that were imported later count.
    """

    skeleton: Skeleton
    imports: tuple[HumanImport, ...]
    restored: tuple[HumanImport, ...]
    images: int
    unchanged: tuple[str, ...]
    unchanged_is_reviewed: bool
    by_key: int
    gone: tuple[str, ...]
    unseen: tuple[str, ...]
    edits: dict[str, Edits]
    reviewed: int
    outdone: int

    def lines(self) -> Iterator[str]:
        """For people."""
        if not self.imports and self.restored:
            yield "nothing new, but what was lost"
        elif not self.imports and self.images:
            yield "nothing new: all of this was imported before"
            if self.outdone:
                yield (
                    f"          in {self.outdone:,} of these images a later import counts; undo it to have "
                    "these answers count again"
                )
        elif not self.imports and not self.unchanged:
            yield "nothing imported: the files hold no answer about an image of the tables"
        for one in self.restored:
            yield f"restored  {one.digest[:12]} of {one.reviewer}: its lost rows are stored again"
        for one in self.imports:
            yield (
                f"import    {one.digest[:12]} of {one.reviewer}: {one.images:,} images, "
                f"{one.persons:,} persons"
            )
        yield f"images    {self.images:,} reviewed"
        if self.by_key:
            yield f"          {self.by_key:,} of them matched by key alone: the tool lost the sha256"
        if self.unchanged:
            count = f"{len(self.unchanged):,} images, as {self.unchanged[0]}, came back exactly as given out"
            if self.unchanged_is_reviewed:
                yield f"unchanged {count}: taken as reviewed, as you say"
            else:
                yield (
                    f"unchanged {count}, and no mark says that anybody looked: left aside; mark those as "
                    f"{REVIEWED} in the tool that were, or say it of all with --unchanged-is-reviewed"
                )
        for what, places in (
            ("about images that were replaced or deleted since: left aside", self.gone),
            ("with nobody in images that failed: left aside", self.unseen),
        ):
            if places:
                yield f"          {len(places):,} answers {what}, as {places[0]}"
        for reviewer, edits in self.edits.items():
            if len(self.edits) > 1:
                yield f"{reviewer}:"
            yield from edits.lines(self.skeleton.joints)
        yield f"tables    {self.reviewed:,} images are corrected now"


@dataclass(frozen=True)
class Undone:
    """What an undo did.

    Attributes:
        imports: that count no more.
        reviewed: images that are corrected still.
    """

    imports: tuple[HumanImport, ...]
    reviewed: int

    def lines(self) -> Iterator[str]:
        """For people."""
        for one in self.imports:
            yield f"undone    {one.digest[:12]} of {one.reviewer}: {one.images:,} images"
        yield f"tables    {self.reviewed:,} images are corrected now"
