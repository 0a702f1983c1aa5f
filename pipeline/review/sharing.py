"""Who looks at which image: shares of the same size, and some images that two people look at."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.output.schema import MODEL
from pipeline.review.labels import ReviewTask
from posrefine.errors import ConfigurationError

__all__ = ["require_reviewers", "shared_out"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


def shared_out(
    tasks: Iterable[ReviewTask],
    reviewers: Sequence[str],
    overlap: float = 0.0,
    seed: int = 0,
    seen: Mapping[str, frozenset[str]] | None = None,
) -> dict[str | None, tuple[ReviewTask, ...]]:
    """Every reviewer's tasks, in the order that they came in.

    Images are dealt out in the order of a hash of seed and sha256, so the shares are drawn by chance and the
    same whatever order the tasks come in. The first of them, as many as `overlap` says, get a second
    reviewer, who changes from image to image. Of these shares those images are left out that their reviewer,
    or as many others as are wanted, have looked at: what is still to do is dealt out as it was before.

    Args:
        tasks: to share out.
        reviewers: their names; nobody leaves all tasks together, under None.
        overlap: share of the images that two reviewers get, 0 to 1, rounded to whole images.
        seed: another one makes other shares.
        seen: who has looked at which images, by sha256; None for nobody at any.

    Raises:
        ConfigurationError: a name is no name for a file, or stands twice; an overlap of fewer than two.
    """
    require_reviewers(reviewers, overlap)
    ordered = tuple(tasks)
    seen = seen or {}
    if not reviewers:
        return {None: tuple(task for task in ordered if not seen.get(task.sha256))}
    drawn = sorted(range(len(ordered)), key=lambda index: _draw(ordered[index], seed))
    twice = round(overlap * len(drawn))
    people = len(reviewers)
    shares: dict[str | None, list[int]] = {name: [] for name in reviewers}
    for position, index in enumerate(drawn):
        first = position % people
        dealt = [reviewers[first]]
        if position < twice:
            step = 1 + position // people % (people - 1)
            dealt.append(reviewers[(first + step) % people])
        done = seen.get(ordered[index].sha256, frozenset())
        for name in [name for name in dealt if name not in done][: max(0, len(dealt) - len(done))]:
            shares[name].append(index)
    return {
        name: tuple(replace(ordered[index], reviewer=name) for index in sorted(share))
        for name, share in shares.items()
    }


def require_reviewers(reviewers: Sequence[str], overlap: float) -> None:
    """Raise `ConfigurationError` where tasks cannot be shared out like this."""
    for name in reviewers:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"reviewers: {name!r}, wanted names of letters, digits and . _ @ + - for their files are "
                "called like them"
            )
        if name.lower() == MODEL:
            raise ConfigurationError(
                f"reviewers: {name!r} is what tables call the network's rows, wanted another name"
            )
    if len({name.lower() for name in reviewers}) != len(reviewers):
        raise ConfigurationError(f"reviewers: {', '.join(reviewers)}, wanted every one once")
    if not 0 <= overlap <= 1:
        raise ConfigurationError(f"overlap: {overlap}, wanted a share of the images, 0 to 1")
    if overlap and len(reviewers) < 2:
        raise ConfigurationError(
            f"overlap: {overlap} of {len(reviewers)} reviewers, wanted two or more of them"
        )


def _draw(task: ReviewTask, seed: int) -> tuple[bytes, str]:
    """Where an image comes in the drawing; its key tells those apart that are the same bytes."""
    return hashlib.sha256(f"{seed} {task.sha256}".encode()).digest(), task.image_key
