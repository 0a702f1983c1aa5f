"""Every exception of the project.

PosRefineError
├── ConfigurationError      a setting, an argument or a file the user named is wrong            exit code 2
│   └── WeightsError        a checkpoint that cannot be read or does not fit the network
├── ImageError              one image cannot be used; becomes that image's row, never a stop
├── StorageError            the store could not be reached or refused, after all retries        exit code 1
│   ├── ObjectMissing       the key does not exist
│   ├── ObjectChanged       the object is not the one the manifest pinned
│   └── ObjectExists        a create-only put found the key taken
├── ShardError              a shard (tar, Parquet) whose container is broken
├── FingerprintMismatch     the output belongs to a different run                               exit code 4
├── TrainingError           training cannot go on: no people, a loss that is not finite         exit code 1
├── OutputLocked            another live run holds the output                                   exit code 5
├── ActorsUnavailable       the cluster had no room for the inference actors in time            exit code 1
└── InvariantBroken         images in != ok + failed: a bug, never hidden                       exit code 1

Messages name the thing, the value found, the value wanted and what to do.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ActorsUnavailable",
    "ConfigurationError",
    "FingerprintMismatch",
    "ImageError",
    "ImageStatus",
    "InvariantBroken",
    "ObjectChanged",
    "ObjectExists",
    "ObjectMissing",
    "OutputLocked",
    "PosRefineError",
    "ShardError",
    "StorageError",
    "TrainingError",
    "WeightsError",
]


class PosRefineError(Exception):
    """Base of everything the project raises on purpose."""


class ConfigurationError(PosRefineError):
    """A setting, an argument or a file that the user named is wrong."""


class WeightsError(ConfigurationError):
    """A checkpoint that cannot be read, or whose tensors do not fit the network."""


class ImageStatus(StrEnum):
    """What became of one input image: `ok`, or why there are no keypoints for it."""

    OK = "ok"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    CHANGED = "changed"
    TIMEOUT = "timeout"
    WORKER_DIED = "worker_died"


class ImageError(PosRefineError):
    """One image cannot be used.

    `status` says why and ends up in the image's row; `width` and `height` are known for some (image px).
    """

    def __init__(
        self, status: ImageStatus, message: str, *, width: int | None = None, height: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.width = width
        self.height = height


class StorageError(PosRefineError):
    """The object store could not be reached, or refused, after all retries."""


class ObjectMissing(StorageError):
    """The key does not exist."""


class ObjectChanged(StorageError):
    """The object is not the one whose etag and size the manifest pinned."""


class ObjectExists(StorageError):
    """A create-only put found the key taken."""


class ShardError(PosRefineError):
    """A shard (tar, Parquet) whose container is broken, as opposed to one image in it."""


class TrainingError(PosRefineError):
    """Training cannot go on: no labelled people, a loss that is not finite, a broken checkpoint."""


class FingerprintMismatch(PosRefineError):
    """The output belongs to a run with another model, weights, settings or input."""


class OutputLocked(PosRefineError):
    """Another live run holds the output."""


class ActorsUnavailable(PosRefineError):
    """The cluster had no room for the inference actors, for longer than the run may wait."""


class InvariantBroken(PosRefineError):
    """The books do not balance: images in is not images ok plus images failed."""
