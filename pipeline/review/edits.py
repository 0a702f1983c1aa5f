"""What people did with the network's persons: confirmed, moved, added and removed, and by how many pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.poses import Poses
from posrefine.text_table import text_table

__all__ = ["UNMOVED_PX", "Edits", "edits_of"]

UNMOVED_PX = 0.5
"""A joint that came back this near to where it was is where it was: tools round."""


@dataclass(frozen=True, eq=False)
class Edits:
    """What became of persons.

    Attributes:
        confirmed: persons whose labelled joints are all where the network had them, and that kept all joints
            that the reviewer was shown.
        unchanged: such persons of images that came back exactly as given, of which no mark says that
            somebody looked.
        moved: the others that the network had found.
        added: that it had not.
        removed: that it had found, and that are not there.
        distances_px: [P, K] float64, between the joints of the first two; NaN where a joint is not labelled.
    """

    confirmed: int
    unchanged: int
    moved: int
    added: int
    removed: int
    distances_px: NDArray[np.float64]

    @staticmethod
    def of_unchanged(persons: int, joints: int) -> Edits:
        """Of so many persons of which nobody knows whether anybody looked at them."""
        return Edits(0, persons, 0, 0, 0, np.zeros((0, joints)))

    @staticmethod
    def merge(parts: Iterable[Edits], joints: int) -> Edits:
        """Of all parts, with so many joints a person."""
        found = list(parts)
        return Edits(
            confirmed=sum(part.confirmed for part in found),
            unchanged=sum(part.unchanged for part in found),
            moved=sum(part.moved for part in found),
            added=sum(part.added for part in found),
            removed=sum(part.removed for part in found),
            distances_px=np.concatenate([np.zeros((0, joints)), *(part.distances_px for part in found)]),
        )

    def lines(self, joints: Sequence[str]) -> Iterator[str]:
        """For people; `joints` are the names of the joints."""
        yield (
            f"persons   {self.confirmed:,} confirmed, {self.moved:,} moved, {self.added:,} added, "
            f"{self.removed:,} removed" + (f", {self.unchanged:,} unchanged" if self.unchanged else "")
        )
        rows = []
        for name, column in zip(joints, self.distances_px.T, strict=True):
            moved = column[column > UNMOVED_PX]
            if len(moved):
                middle, most = np.median(moved), moved.max()
                known = np.isfinite(column).sum()
                rows.append([name, f"{len(moved):,} of {known:,}", f"{middle:.1f}", f"{most:.1f}"])
        if rows:
            yield text_table([["joint", "moved", "median px", "most px"], *rows])


def edits_of(
    found: Poses,
    same: Sequence[int | None],
    keypoints: NDArray[np.floating],
    visibility: NDArray[np.int8],
    joints_shown: Sequence[int | None],
    size: tuple[int, int],
) -> Edits:
    """What a reviewer did with the persons of one image.

    Args:
        found: those that the reviewer was shown.
        same: [N] which of them each of the reviewer's is, or None.
        keypoints: [N, K, 2] the reviewer's, image px.
        visibility: [N, K], COCO's.
        joints_shown: [N] which joints of each were shown, as bits; None for those that lie in the image.
        size: width and height of the image, px.
    """
    confirmed, distances = 0, [np.zeros((0, visibility.shape[1]))]
    for person, row in enumerate(same):
        if row is None:
            continue
        labelled, before = visibility[person] > 0, found.keypoints[row].astype(np.float64)
        px = np.where(labelled, np.linalg.norm(before - keypoints[person], axis=1), np.nan)
        bits = joints_shown[person]
        if bits is None:
            shown = ((before >= 0) & (before < size)).all(axis=1)
        else:
            shown = np.array([bits >> joint & 1 for joint in range(len(labelled))], bool)
        confirmed += not ((px > UNMOVED_PX) | (shown & ~labelled)).any()
        distances.append(px[None])
    kept = sum(row is not None for row in same)
    return Edits(
        confirmed=confirmed,
        unchanged=0,
        moved=kept - confirmed,
        added=len(same) - kept,
        removed=len(found) - kept,
        distances_px=np.concatenate(distances),
    )
