"""Which images of the tables answers are about: by their bytes, or by their keys where a tool lost these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.output.human_import import MatchedBy
from pipeline.output.review_queue import list_queues, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.labels import ReviewedImage
from posrefine.errors import ConfigurationError

__all__ = ["MatchedAnswers", "MatchedImage", "match_answers", "network_rows"]


@dataclass(frozen=True)
class MatchedImage:
    """An answer and the image that it is about.

    Attributes:
        answer: the reviewer's.
        image: its row, as the network found it.
        generation: whose unit it is in.
        matched_by: how it was found.
    """

    answer: ReviewedImage
    image: ImageResult
    generation: int
    matched_by: MatchedBy


@dataclass(frozen=True)
class MatchedAnswers:
    """What became of all answers.

    Attributes:
        images: those that found their image.
        gone: places of answers about images that are not in the tables any more: replaced, or deleted.
        unseen: places of answers without anybody about images that failed in the run: nobody may have seen
            them.
    """

    images: tuple[MatchedImage, ...]
    gone: tuple[str, ...]
    unseen: tuple[str, ...]


def match_answers(output: RunOutput, answers: Iterable[ReviewedImage]) -> MatchedAnswers:
    """Find the images of all answers; those files of the tables are read that hold any.

    Raises:
        ConfigurationError: an answer is about no image of this output, about several, about one of another
            size, or is one of two that differ; it names the place.
        ShardError: a file of the tables is damaged.
    """
    answers = list(answers)
    known = _Known.of(output, answers)
    matched, gone, unseen = list[MatchedImage](), list[str](), list[str]()
    for answer in answers:
        rows = known.rows_of(answer)
        if not rows:
            known.require_given_out(answer)
            gone.append(answer.place)
            continue
        image, generation = rows[0]
        if image.poses is None and not answer.persons:
            unseen.append(answer.place)
            continue
        _require_size(answer, image)
        by: MatchedBy = "image_key" if answer.sha256 is None else "sha256"
        matched.append(MatchedImage(answer, image, generation, by))
    return MatchedAnswers(tuple(matched), tuple(gone), tuple(unseen))


_Row = tuple[ImageResult, int]
"""An image as the network found it, and its generation."""


@dataclass(frozen=True)
class _Known:
    """What the output holds of the images of some answers.

    Attributes:
        by_sha256: rows of these bytes.
        by_key: rows under these keys.
        given_out: the bytes that each key had in the output's queues, and all that were given out.
    """

    by_sha256: dict[str, list[_Row]]
    by_key: dict[str, list[_Row]]
    given_out: dict[str, set[str | None]]
    given_out_sha256: frozenset[str]

    @staticmethod
    def of(output: RunOutput, answers: Sequence[ReviewedImage]) -> _Known:
        shas = {answer.sha256 for answer in answers if answer.sha256 is not None}
        keys = {answer.image_key for answer in answers if answer.image_key is not None}
        by_sha256, by_key = defaultdict[str, list[_Row]](list), defaultdict[str, list[_Row]](list)
        for image, generation in network_rows(output, shas, keys):
            if image.sha256 in shas:
                by_sha256[image.sha256 or ""].append((image, generation))
            if image.image_key in keys:
                by_key[image.image_key].append((image, generation))
        queues = [read_queue(output, queue_id) for queue_id in list_queues(output)]
        asked = [image for queue in queues for image in queue.images]
        given_out = defaultdict[str, set[str | None]](set)
        for queued in asked:
            given_out[queued.image_key].add(queued.sha256)
        return _Known(
            dict(by_sha256),
            dict(by_key),
            dict(given_out),
            frozenset(image.sha256 for image in asked if image.sha256 is not None),
        )

    def rows_of(self, answer: ReviewedImage) -> list[_Row]:
        """The image that an answer is about, the one with its key first; none where it is not there."""
        if answer.sha256 is not None:
            rows = self.by_sha256.get(answer.sha256, [])
            return sorted(rows, key=lambda row: row[0].image_key != answer.image_key)
        if answer.image_key is None:
            raise ConfigurationError(
                f"{answer.place}: names its image neither by sha256 nor by key; export the tasks anew and "
                "let the tool keep these fields"
            )
        rows = self.by_key.get(answer.image_key, [])
        shas = {image.sha256 for image, _ in rows}
        if len(shas) > 1:
            raise ConfigurationError(
                f"{answer.place}: {len(shas)} images have the key {answer.image_key!r}; only sha256 can "
                "tell which it is: export the tasks anew and let the tool keep it"
            )
        if rows and None in shas:
            raise ConfigurationError(
                f"{answer.place}: the bytes of {answer.image_key!r} were never read "
                f"({rows[0][0].status.value}), so nothing can be said about them"
            )
        asked = self.given_out.get(answer.image_key, set())
        if len(asked) > 1 and asked & shas:
            raise ConfigurationError(
                f"{answer.place}: {len(asked)} images were given out under the key {answer.image_key!r}, one "
                "after the other; only sha256 can tell which this is about: export the tasks anew and let "
                "the tool keep it"
            )
        return rows if not asked or asked & shas else []

    def require_given_out(self, answer: ReviewedImage) -> None:
        """Raise where an answer is about an image that this output never had."""
        known = (
            answer.sha256 in self.given_out_sha256
            or answer.image_key in self.given_out
            or answer.image_key in self.by_key
        )
        if not known:
            raise ConfigurationError(
                f"{answer.place}: no image of this output has "
                + (f"the sha256 {answer.sha256}" if answer.sha256 else f"the key {answer.image_key!r}")
                + ", and none was given out for review; name the output that the tasks came from"
            )


def network_rows(output: RunOutput, shas: set[str], keys: set[str]) -> Iterator[_Row]:
    """The images with these bytes or keys, as the network found them."""
    rows = replace(output, source="model").rows()
    names = rows.columns(["image_key", "sha256"])
    for file, part, table in zip(rows.files, rows.parts(1), names, strict=True):
        columns = (table[name].to_pylist() for name in ("image_key", "sha256"))
        if not any(key in keys or sha256 in shas for key, sha256 in zip(*columns, strict=True)):
            continue
        for image in part.images():
            if image.image_key in keys or image.sha256 in shas:
                yield image, file.generation


def _require_size(answer: ReviewedImage, image: ImageResult) -> None:
    """Raise where the tool saw the image in another frame: its coordinates would mean others."""
    if image.width is None or image.height is None:
        raise ConfigurationError(
            f"{answer.place}: {image.image_key} failed in the run ({image.status.value}) before its size was "
            "known; mend it and `retry-failed` before it is labelled"
        )
    if (answer.width, answer.height) != (image.width, image.height):
        raise ConfigurationError(
            f"{answer.place}: says {image.image_key} is {answer.width} x {answer.height} px, the tables say "
            f"{image.width} x {image.height}; the tool turned or resized it, and its coordinates are in "
            "another frame"
        )
