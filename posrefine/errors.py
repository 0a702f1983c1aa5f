"""Every exception of the project.

PosRefineError
├── ConfigurationError      a setting, an argument or a file the user named is wrong            exit code 2
│   └── WeightsError        a checkpoint that cannot be read or does not fit the network
├── DownloadFailed          weights could not be fetched from where they are published          exit code 1
├── ImageError              one image cannot be used; becomes that image's row, never a stop
├── StorageError            the store could not be reached or refused, after all retries        exit code 1
│   ├── ObjectMissing       the key does not exist                                          exit code 2
│   ├── ObjectChanged       the object is not the one the manifest pinned
│   ├── ObjectUnreadable    the object is archived, or encrypted with a key that we lack
│   ├── ObjectExists        a create-only put found the key taken
│   └── ConditionUnsupported  the store does not know puts with a condition
├── ShardError              a shard (tar, Parquet) whose container is broken
├── FingerprintMismatch     the output belongs to a different run                               exit code 4
├── NonFiniteMaps           the network computed NaN or infinity                                exit code 1
├── TrainingError           training cannot go on: no people, a loss that is not finite         exit code 1
├── OutputLocked            another live run holds the output                                   exit code 5
├── ActorsUnavailable       the cluster had no room for the inference actors in time            exit code 1
├── OutOfMemory             workers were killed at the smallest piece of work           exit code 1
├── ClusterLost             the Ray cluster went away, or could not be started          exit code 1
└── InvariantBroken         images in != ok + failed: a bug, never hidden                       exit code 1

Messages name the thing, the value found, the value wanted and what to do. The second paragraph of an error's
docstring says what to do about it in general; docs pages are made of both.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial

__all__ = [
    "ActorsUnavailable",
    "ClusterLost",
    "ConditionUnsupported",
    "ConfigurationError",
    "DownloadFailed",
    "FingerprintMismatch",
    "ImageError",
    "ImageStatus",
    "InvariantBroken",
    "NoProgress",
    "NonFiniteMaps",
    "ObjectChanged",
    "ObjectExists",
    "ObjectMissing",
    "ObjectUnreadable",
    "OutOfMemory",
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
    """A setting, an argument or a file that the user named is wrong.

    Correct what the message names; nothing was changed. Trying again without a change ends the same way.
    """


class WeightsError(ConfigurationError):
    """A checkpoint that cannot be read, or whose tensors do not fit the network.

    Name the network that the weights are of (`--model`, `--skeleton`), or other weights; `posrefine zoo`
    lists those that are known by name.
    """


class DownloadFailed(PosRefineError):
    """Weights could not be fetched from where they are published, after all retries.

    Run again when the address can be reached, or fetch the file elsewhere and name its path.
    """


class ImageStatus(StrEnum):
    """What became of one input image: `ok`, or why there are no keypoints for it."""

    OK = "ok"
    """Annotated; nothing is wrong with it, also where nobody is in it."""
    CORRUPT = "corrupt"
    """Its bytes are no picture that can be read. Mend or replace the file, then `retry-failed` or `sync`."""
    TRUNCATED = "truncated"
    """The file ends too early, as after an upload that broke off. Upload it again."""
    UNSUPPORTED = "unsupported"
    """A format, or a kind of it, that is not read. Convert it; docs/image_formats.md lists what is."""
    TOO_LARGE = "too_large"
    """Larger than `--max-pixels` or `--max-image-bytes`. `retry-failed` takes other limits."""
    MISSING = "missing"
    """It was listed, and was gone when its turn came."""
    CHANGED = "changed"
    """It is another file than the one that was listed. A sync takes the new one."""
    UNREADABLE = "unreadable"
    """The store has it, archived or encrypted with a key that is not ours. Restore it or grant the key."""
    TIMEOUT = "timeout"
    """Decoding it took longer than `--image-timeout-s`."""
    WORKER_DIED = "worker_died"
    """It crashes the process that works on it. Look at it alone: `replay --unit` of its unit."""


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

    def __reduce__(self) -> tuple[partial[ImageError], tuple[ImageStatus, str]]:
        """For worker processes, whose errors travel as pickles."""
        made = partial(type(self), width=self.width, height=self.height)
        return made, (self.status, str(self))


class StorageError(PosRefineError):
    """The object store could not be reached, or refused, after all retries.

    Look at endpoint, credentials and permissions, then run the same command again: what is finished stays.
    """


class ObjectMissing(StorageError):
    """The key does not exist.

    Where the user named it, correct the address; an image that has gone since it was listed is a row,
    `missing`.
    """


class ObjectChanged(StorageError):
    """The object is not the one whose etag and size the manifest pinned.

    Its images are rows, `changed`; a sync takes what is there now.
    """


class ObjectUnreadable(StorageError):
    """The store has the object and not its bytes for us: it is archived, or encrypted with a key we lack.

    Restore it, or grant the key, then `retry-failed`: its images are rows, `unreadable`.
    """


class ObjectExists(StorageError):
    """A create-only put found the key taken.

    Somebody else wrote there first: see which of two runs is meant to.
    """


class ConditionUnsupported(StorageError):
    """The store, or the file system, does not know puts with a condition.

    Take an output on one that does: without them two runs could write over each other.
    """


class ShardError(PosRefineError):
    """A shard (tar, Parquet) whose container is broken, as opposed to one image in it.

    Pack or fetch it anew, then `retry-failed`, or a sync; what could be read of it is kept.
    """


class NonFiniteMaps(PosRefineError):
    """The network computed NaN or infinity for an image: never "nobody there", and not the image's fault.

    Use sound weights, or `--precision float32` where the smaller number format is to blame.
    """


class TrainingError(PosRefineError):
    """Training cannot go on: no labelled people, a loss that is not finite, a broken checkpoint.

    Do what the message says about data or rate, then run the same command again: it goes on from its
    checkpoint.
    """


class FingerprintMismatch(PosRefineError):
    """The output belongs to a run with another model, weights, settings or input.

    Take the settings of that run, which `run.json` holds, or another output.
    """


class OutputLocked(PosRefineError):
    """Another live run holds the output.

    Wait until it ends, or stop it; the lock of a run that died counts as abandoned after `--lock-expiry-s`.
    """


class ActorsUnavailable(PosRefineError):
    """The cluster had no room for the inference actors, or no machine, for longer than the run may wait.

    Free the cluster or start machines, ask for less (`--actors`, `--min-actors`, `--num-gpus-per-actor`,
    `--num-cpus-per-actor`), or wait longer (`--actor-wait-s`).
    """


class OutOfMemory(PosRefineError):
    """Workers were killed from outside again and again, at the smallest piece of work.

    Give the nodes more memory, or take fewer actors (`--actors`) or smaller images (`--max-pixels`), then
    run again.
    """


class NoProgress(PosRefineError):
    """Nothing moved for longer than the run may stand still.

    Look at the cluster's workers and nodes, or give slow units more time (`--no-progress-timeout-s`), then
    run again: what is finished stays.
    """


class ClusterLost(PosRefineError):
    """The Ray cluster that did the work is gone, or could not be started.

    Look at what the message says of Ray, then run the same command again: what is finished stays.
    """


class InvariantBroken(PosRefineError):
    """The books do not balance: images in is not images ok plus images failed.

    A bug, or files of the output that somebody changed: keep the output and report it with the message.
    """
