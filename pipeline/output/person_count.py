"""How many persons there are: those from a stated score on, and those below it, whom only the tables hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from posrefine.score_floor import SCORE_FLOOR

__all__ = ["PersonCount"]


@dataclass(frozen=True)
class PersonCount:
    """Persons of some images.

    Attributes:
        counted: with a score of at least the floor.
        below: the others.
    """

    counted: int = 0
    below: int = 0

    @staticmethod
    def of(persons: pa.ChunkedArray | pa.Array, min_score: float) -> PersonCount:
        """Of the column `persons` of unit files; `min_score` is the floor."""
        scores = pc.struct_field(pc.list_flatten(persons), "score")
        return PersonCount.of_scores(np.asarray(scores, np.float32), min_score)

    @staticmethod
    def of_scores(scores: NDArray[np.float32], min_score: float) -> PersonCount:
        """Of persons with these scores, [N] float32."""
        counted = int((scores >= np.float32(min_score)).sum())
        return PersonCount(counted, len(scores) - counted)

    def __add__(self, other: PersonCount) -> PersonCount:
        return PersonCount(self.counted + other.counted, self.below + other.below)

    def words(self, min_score: float = SCORE_FLOOR) -> str:
        """Such as `199 from score 0.3 on; 1,581 more below it, in the tables alone`."""
        more = f"; {self.below:,} more below it, in the tables alone" if self.below else ""
        return f"{self.counted:,} from score {min_score:g} on{more}"
