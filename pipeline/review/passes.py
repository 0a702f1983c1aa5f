"""The two passes over a run's tables that a choice takes: here, or in Ray tasks where there is much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.output.rows import RunRows
from pipeline.output.stored_poses import stored_poses
from pipeline.review.image_features import COLUMNS, FIELDS, CountedPersons, FeatureFile, features_of
from pipeline.review.outliers import PersonSample, TypicalPoses
from pipeline.review.run_disagreement import RunDisagreement

__all__ = ["Look", "TablePasses"]

S = TypeVar("S")
R = TypeVar("R")

_IN_PROCESS_IMAGES = 500_000
"""One core passes over so many in a quarter of a minute, twice what Ray takes to start."""
_IMAGES_PER_TASK = 65_536


@dataclass(frozen=True)
class Look:
    """What is looked at in images.

    Attributes:
        seed: of all that is drawn.
        reviewed: the sha256 that each key had when people looked at it last.
        other: another run, to compare persons with; None for none.
    """

    seed: int
    reviewed: Mapping[str, str]
    other: RunDisagreement | None

    def in_memory(self) -> Look:
        """The same for other machines, which see no temporary file of this one."""
        return self if self.other is None else replace(self, other=self.other.in_memory())


@dataclass(frozen=True)
class _Part:
    """Files of a run that follow one another, and the number of the first of them."""

    rows: RunRows
    first: int

    def looked_at(self, look: Look) -> Iterator[tuple[NDArray[Any], CountedPersons]]:
        """Of each file the features of its images, and its persons that count."""
        joints, least = self.rows.skeleton.num_joints, self.rows.min_score
        for number, part in enumerate(self.rows.persons(COLUMNS, FIELDS), start=self.first):
            features, people = features_of(part, number, joints, least, look.seed, look.reviewed)
            if look.other is not None:
                look.other.compare(features, part, people)
            yield features, people

    def strangest(self, poses: TypicalPoses) -> Iterator[NDArray[np.float64]]:
        """Of each file, [N] how unlike others the strangest pose of each image is; NaN without persons."""
        joints = self.rows.skeleton.num_joints
        for part in self.rows.persons(("width", "height"), FIELDS):
            people = CountedPersons.of(part, stored_poses(part.persons, joints), self.rows.min_score)
            found = np.full(len(part.per_image), np.nan)
            np.fmax.at(found, people.image, poses.distance(people))
            yield found


@dataclass(frozen=True)
class TablePasses:
    """A run to choose from.

    Attributes:
        rows: of its network.
        distributed: whether to pass over it in Ray tasks; None: where it has more than 500,000 images.
    """

    rows: RunRows
    distributed: bool | None = None

    @contextmanager
    def together(self) -> Iterator[TablePasses]:
        """While the block lasts, Ray stays started where it is needed."""
        if not self._in_tasks():
            yield self
            return
        from pipeline.ray_session import ray_session

        with ray_session():
            yield self

    def features(self, images: FeatureFile, look: Look) -> tuple[NDArray[Any], CountedPersons]:
        """[N] of `FEATURES`, kept in `images`, and a sample of the persons.

        Raises:
            ShardError: a file of the tables is damaged.
            StorageError: the store could not be reached.
        """
        sample = PersonSample()
        if self._in_tasks():
            for features, seen in self._mapped(_features_of_part, look.in_memory()):
                sample.join(seen)
                images.append(features)
        else:
            for features, people in _Part(self.rows, 0).looked_at(look):
                sample.see(features, people)
                images.append(features)
        return images.rows(), sample.persons()

    def measure_poses(self, found: NDArray[Any], poses: TypicalPoses) -> None:
        """Write how unlike others the strangest pose of each image of `FEATURES` is.

        Raises as `features` does.
        """
        parts: Iterable[NDArray[np.float64]] = (
            self._mapped(_strangest_of_part, poses)
            if self._in_tasks()
            else _Part(self.rows, 0).strangest(poses)
        )
        start = 0
        for strangest in parts:
            found["pose"][start : start + len(strangest)] = strangest
            start += len(strangest)

    def _in_tasks(self) -> bool:
        if self.distributed is None:
            return sum(file.images for file in self.rows.files) > _IN_PROCESS_IMAGES
        return self.distributed

    def _mapped(self, function: Callable[[_Part, S], R], shared: S) -> Iterator[R]:
        # Ray takes longer to import than a small run takes.
        from pipeline.ray_session import map_in_tasks

        return map_in_tasks(function, self._parts(), shared)

    def _parts(self) -> Iterator[_Part]:
        first = 0
        for rows in self.rows.parts(_IMAGES_PER_TASK):
            yield _Part(rows, first)
            first += len(rows.files)


def _features_of_part(part: _Part, look: Look) -> tuple[NDArray[Any], PersonSample]:
    found, sample = list[NDArray[Any]](), PersonSample()
    for features, people in part.looked_at(look):
        sample.see(features, people)
        found.append(features)
    return np.concatenate(found), sample


def _strangest_of_part(part: _Part, poses: TypicalPoses) -> NDArray[np.float64]:
    return np.concatenate(list(part.strangest(poses)))
