"""On how many persons two runs over the same images disagree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.output.files import PersonRows
from pipeline.output.person_index import INDEX_COLUMNS, PersonIndex, index_rows
from pipeline.output.run_output import RunOutput
from pipeline.review.image_features import CountedPersons
from posrefine.errors import ConfigurationError
from posrefine.metrics.oks import joint_similarity
from posrefine.metrics.pairing import areas_px2, pair_persons
from posrefine.skeletons import Skeleton

__all__ = ["RunDisagreement"]

SAME_PERSON = 0.5
"""OKS from which two runs mean the same person."""

_PAIRS_AT_A_TIME = 65_536


@dataclass(frozen=True)
class RunDisagreement:
    """Another run, to compare persons with.

    Attributes:
        other: its images and persons.
        counted: [P] int64, those of its persons that count, in the order of its rows.
        skeleton: of both.
    """

    other: PersonIndex
    counted: NDArray[np.int64]
    skeleton: Skeleton

    @staticmethod
    def read(output: RunOutput, skeleton: Skeleton, file: IO[bytes]) -> RunDisagreement:
        """Read the other run, as its network found it.

        Args:
            output: of it.
            skeleton: that its persons must have.
            file: for the joints, opened for reading and writing.

        Raises:
            ConfigurationError: there is no run, or its persons have other joints.
        """
        rows = replace(output, source="model").rows()
        if rows.skeleton != skeleton:
            raise ConfigurationError(
                f"{output.uri}: its persons have the joints of {rows.skeleton.name}, those of the run "
                f"{skeleton.name}; compare runs of one skeleton"
            )
        other = PersonIndex.read(rows, file)
        return RunDisagreement(
            other, np.flatnonzero(other.numbers[:, -1] >= np.float32(rows.min_score)), skeleton
        )

    def in_memory(self) -> RunDisagreement:
        """The same with the joints in memory instead of in the temporary file."""
        return replace(self, other=replace(self.other, numbers=np.asarray(self.other.numbers)))

    def compare(self, features: NDArray[Any], rows: PersonRows, people: CountedPersons) -> None:
        """Write into `differ` of `FEATURES` how many persons one of the two runs alone has found, and into
        `other_persons` how many there are in the other run.

        Both are -1 for images that the other run lacks, failed at, or has other bytes of.

        Args:
            features: of some images.
            rows: of the images.
            people: of the images, that count.
        """
        index = index_rows(rows.images.select(INDEX_COLUMNS), rows.per_image)
        places = self.other.find(index)
        there = self.other.index[places]
        both = (places >= 0) & index["ok"] & there["ok"] & (there["content"] == index["content"])
        own = np.bincount(people.image, minlength=len(features)).astype(np.int64)
        first = np.searchsorted(self.counted, there["start"])
        theirs = np.where(both, np.searchsorted(self.counted, there["start"] + there["persons"]) - first, 0)
        start = np.cumsum(own) - own
        paired = np.zeros(len(features), np.int64)
        images = np.flatnonzero(both & (own > 0) & (theirs > 0))
        pairs = np.cumsum((own * theirs)[images])
        for some in np.split(images, np.flatnonzero(np.diff(pairs // _PAIRS_AT_A_TIME)) + 1):
            if len(some):
                mine = (start[some], own[some])
                paired[some] = self._paired(mine, (first[some], theirs[some]), people)
        features["differ"] = np.where(both, own + theirs - 2 * paired, -1)
        features["other_persons"] = np.where(both, theirs, -1)

    def _paired(
        self,
        mine: tuple[NDArray[np.int64], NDArray[np.int64]],
        theirs: tuple[NDArray[np.int64], NDArray[np.int64]],
        people: CountedPersons,
    ) -> NDArray[np.int64]:
        """How many persons both runs have, of each of some images.

        As `pair_persons` pairs them, which is asked where somebody is like two persons.

        Args:
            mine: where each image's persons begin in `people`, and their number.
            theirs: likewise in `counted`.
            people: that count.
        """
        counts = mine[1] * theirs[1]
        image = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        one = mine[0][image] + within // theirs[1][image]
        other = theirs[0][image] + within % theirs[1][image]
        ones, others = people.keypoints[one], self._keypoints(other)
        areas = np.sqrt(areas_px2(ones) * areas_px2(others))
        sigmas = np.asarray(self.skeleton.sigmas)
        alike = joint_similarity(ones - others, areas, sigmas).mean(axis=1) >= SAME_PERSON
        found = np.bincount(image[alike], minlength=len(counts))
        for side in (one, other):
            persons, times = np.unique(side[alike], return_counts=True)
            for place in np.unique(image[np.isin(side, persons[times > 1])]):
                a = slice(mine[0][place], mine[0][place] + mine[1][place])
                b = np.arange(theirs[0][place], theirs[0][place] + theirs[1][place])
                pairs = pair_persons(people.keypoints[a], self._keypoints(b), sigmas, SAME_PERSON)
                found[place] = len(pairs.one)
        return found

    def _keypoints(self, counted: NDArray[np.int64]) -> NDArray[np.float64]:
        """[P, K, 2] of some of the other run's persons that count, image px."""
        joints = self.other.joints
        numbers = self.other.numbers[self.counted[counted], : 2 * joints]
        return np.asarray(numbers, np.float64).reshape(len(counted), joints, 2)
