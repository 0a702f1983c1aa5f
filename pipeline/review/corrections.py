"""Reviewers' answers into an output, and out of it again: checked, told, stored and published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.output.finalize import finalize
from pipeline.output.human_import import (
    HumanImage,
    add_imports,
    digest_of,
    restore_imports,
    undo_imports,
)
from pipeline.output.human_log import HumanImport
from pipeline.output.publish import clean_tables
from pipeline.output.record import RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import MODEL, SCHEMA_VERSION
from pipeline.output.writer import OutputWriter, writing
from pipeline.review.edits import UNMOVED_PX, Edits, edits_of
from pipeline.review.formats.checks import printable, shown
from pipeline.review.given import came_as_given, is_as_given
from pipeline.review.imported import Imported, Undone
from pipeline.review.labels import ReviewedImage, ReviewedPerson
from pipeline.review.matched_images import MatchedImage, match_answers
from pipeline.review.same_persons import oks_matrix, same_persons
from posrefine.errors import ConfigurationError
from posrefine.poses import Poses
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["import_reviews", "undo_reviews"]

_SHORTEST_ID = 6
_LONGEST_NAME = 200


def import_reviews(
    output: RunOutput,
    answers: Iterable[ReviewedImage],
    files: Sequence[str],
    *,
    unchanged_is_reviewed: bool = False,
) -> Imported:
    """Take answers into an output, all or none, and publish its tables with them.

    Of two reviewers of one image both are kept; in the tables stands who was imported last, and of one import
    who came last in it. What was imported already is not imported again. Images that came back exactly as
    given out, without a mark that somebody looked, are left aside.

    Args:
        output: with finished tables.
        answers: whatever tool they came from.
        files: what they are called, for the log.
        unchanged_is_reviewed: take in these images too.

    Raises:
        ConfigurationError: an answer does not fit; nothing is imported then.
        OutputLocked: another process is at work there.
        ShardError: a file of the output is damaged.
    """
    record = _require_tables(output)
    skeleton = SKELETONS[record.fingerprint.skeleton]
    checked = [_checked(answer, skeleton) for answer in answers]
    with writing(output, record.run_settings().lock_expiry_s) as writer:
        matched = match_answers(writer.output, checked)
        told = [_told(one, skeleton, record.min_score) for one in matched.images]
        images: dict[str, dict[str, HumanImage]] = defaultdict(dict)
        edits: dict[str, list[Edits]] = defaultdict(list)
        unchanged, taken = list[str](), list[MatchedImage]()
        for one, (image, change, is_unchanged) in zip(matched.images, told, strict=True):
            if is_unchanged:
                unchanged.append(image.place)
            if is_unchanged and not unchanged_is_reviewed:
                continue
            taken.append(one)
            known = images[one.answer.reviewer].setdefault(image.sha256, image)
            if known is image:
                edits[one.answer.reviewer].append(change)
            elif known.says() != image.says():
                raise ConfigurationError(
                    f"{image.place}: {one.answer.reviewer} says something else about {image.image_key} than "
                    f"at {known.place}; leave one of the two out"
                )
        said = [(reviewer, list(ones.values())) for reviewer, ones in images.items()]
        names = [printable(file) for file in files]
        restored = restore_imports(writer, said, record.run_id)
        added = add_imports(writer, said, names, record.run_id) if said else ()
        reviewed = _publish(writer)
        outdone = _outdone(writer.output, said)
    return Imported(
        skeleton=skeleton,
        imports=added,
        restored=restored,
        images=len(taken),
        by_key=sum(one.matched_by == "image_key" for one in taken),
        unchanged=tuple(unchanged),
        unchanged_is_reviewed=unchanged_is_reviewed,
        gone=matched.gone,
        unseen=matched.unseen,
        edits={name: Edits.merge(parts, skeleton.num_joints) for name, parts in edits.items()},
        reviewed=reviewed,
        outdone=outdone,
    )


def undo_reviews(output: RunOutput, *, reviewer: str | None = None, import_id: str | None = None) -> Undone:
    """Take imports back, and publish the tables without them: who was imported before counts again.

    Args:
        output: with finished tables.
        reviewer: all of whose imports are undone.
        import_id: the beginning of the name of one import.

    Raises:
        ConfigurationError: there is no such import, or several.
        OutputLocked: another process is at work there.
        ShardError: the rows are lost of an import that would count instead; nothing is undone then.
    """
    if (reviewer is None) == (import_id is None):
        raise ConfigurationError("undo: name either --reviewer or --import")
    record = _require_tables(output)
    with writing(output, record.run_settings().lock_expiry_s) as writer:
        people = writer.output.human_rows()
        active = people.log.active()
        if reviewer is not None:
            chosen = [one for one in active if one.reviewer == reviewer]
            names = ", ".join(sorted({one.reviewer for one in active})) or "nobody"
            if not chosen:
                raise ConfigurationError(f"--reviewer {reviewer}: nothing of theirs counts; there is {names}")
        else:
            chosen = [_by_id(active, import_id or "")]
        people.require_without(chosen)
        undo_imports(writer, chosen)
        return Undone(tuple(chosen), _publish(writer))


def _by_id(active: Sequence[HumanImport], import_id: str) -> HumanImport:
    found = [one for one in active if one.digest.startswith(import_id)]
    if len(import_id) < _SHORTEST_ID or len(found) != 1:
        there = ", ".join(f"{one.digest[:12]} of {one.reviewer}" for one in active) or "none"
        raise ConfigurationError(
            f"--import {import_id!r}: names {len(found)} imports that count, expected one by its first "
            f"{_SHORTEST_ID} letters or more; there are {there}"
        )
    return found[0]


def _outdone(output: RunOutput, said: Sequence[tuple[str, Sequence[HumanImage]]]) -> int:
    """Of how many of these images another import counts."""
    ours, counting = {digest_of(name, images) for name, images in said}, output.human_rows().counting
    shas = {image.sha256 for _, images in said for image in images}
    return sum(counting[sha256] not in ours for sha256 in shas)


def _require_tables(output: RunOutput) -> RunRecord:
    record = output.require_record()
    if output.counts() is None:
        raise ConfigurationError(
            f"{output.uri}: its tables are not finished; `run` or `sync` it to the end before answers come in"
        )
    if record.fingerprint.schema_version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{output.uri}: has tables of schema {record.fingerprint.schema_version}, which know no "
            f"corrections; this version writes schema {SCHEMA_VERSION}: annotate into a new output"
        )
    return record


def _publish(writer: OutputWriter) -> int:
    """Bring the tables up to date; images that are corrected in them."""
    output = writer.output
    record = output.require_record()
    later = output.finished_generations(record)[1:]
    counts = finalize(writer, record, output.manifest(record), later)
    clean_tables(writer, record.run_settings().replaced_grace_s)
    return counts.reviewed


def _checked(answer: ReviewedImage, skeleton: Skeleton) -> ReviewedImage:
    """The answer, or the reason why it cannot be stored, with its place."""
    name = answer.reviewer
    if name.lower() in ("", MODEL) or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigurationError(
            f"{answer.place}: the reviewer is called {shown(name)}, wanted a name of 1 to {_LONGEST_NAME} "
            f"printable characters, other than {MODEL!r}; name one with --reviewer"
        )
    wanted = (skeleton.num_joints, 2)
    for number, person in enumerate(answer.persons):
        where = f"{answer.place}: person {number}"
        if person.keypoints.shape != wanted or person.visibility.shape != wanted[:1]:
            raise ConfigurationError(
                f"{where}: has joints of shape {person.keypoints.shape}, expected {wanted} for "
                f"{skeleton.name}"
            )
        if not np.isin(person.visibility, (0, 1, 2)).all():
            raise ConfigurationError(
                f"{where}: has visibility {sorted(set(person.visibility.tolist()))}, expected 0, 1 and 2"
            )
        labelled = person.keypoints[person.visibility > 0]
        if not np.isfinite(labelled).all() or not np.isfinite(person.bbox or 0).all():
            raise ConfigurationError(f"{where}: has coordinates that are no numbers")
        if not len(labelled) and person.bbox is None:
            raise ConfigurationError(f"{where}: has neither a labelled joint nor a box; delete the person")
    return answer


def _told(one: MatchedImage, skeleton: Skeleton, min_score: float) -> tuple[HumanImage, Edits, bool]:
    """What is stored of an answer, what it changed of the persons that count, and whether that is nothing and
    no mark says that somebody looked."""
    answer, image = one.answer, one.image
    persons, joints = answer.persons, skeleton.num_joints
    found = Poses.none(joints) if image.poses is None else image.poses
    visibility = np.array([p.visibility for p in persons], np.int8).reshape(-1, joints)
    keypoints = np.array([p.keypoints for p in persons], np.float32).reshape(-1, joints, 2)
    keypoints = np.where(visibility[:, :, None] > 0, keypoints, np.float32(0))
    boxes = np.array([_box(p) for p in persons], np.float32).reshape(-1, 4)
    given = answer.pre_labels if _fits(answer, found) else None
    shown = _rows_shown(answer, given, found, min_score)
    positions = {int(row): position for position, row in enumerate(shown)}
    stated = [None if p.person is None else positions.get(p.person) for p in persons]
    like = oks_matrix(found.keypoints[shown], keypoints, visibility, boxes, skeleton.sigmas)
    same = same_persons(like.oks, stated)
    width, height = answer.width, answer.height
    pre_labels = len(shown) if answer.pre_labels is None else len(answer.pre_labels)
    is_unchanged = not answer.is_marked and is_as_given(
        persons, pre_labels, found[shown], same, (width, height)
    )
    joints_shown = [None if row is None or given is None else given[int(shown[row])] for row in same]
    if is_unchanged:
        edits = Edits.of_unchanged(len(persons), joints)
    else:
        edits = edits_of(found[shown], same, keypoints, visibility, joints_shown, (width, height))
    return (
        HumanImage(
            sha256=image.sha256 or "",
            image_key=image.image_key,
            matched_by=one.matched_by,
            generation=one.generation,
            width=width,
            height=height,
            place=answer.place,
            keypoints=keypoints,
            visibility=visibility,
            boxes_xywh=boxes,
            pre_labels=tuple(None if row is None else int(shown[row]) for row in same),
            found=found,
            status=image.status,
            error=image.error,
        ),
        edits,
        is_unchanged,
    )


def _rows_shown(
    answer: ReviewedImage, given: Mapping[int, int] | None, found: Poses, min_score: float
) -> NDArray[np.intp]:
    """Which of the persons found the task showed: those given, else those that count and lie in the image."""
    if given is not None:
        rows = np.array(sorted(given), np.intp)
        return rows[rows < len(found)]
    keypoints = found.keypoints
    inside = np.all((keypoints >= 0) & (keypoints <= (answer.width, answer.height)), axis=2)
    return np.flatnonzero(inside.any(axis=1) & (found.scores >= min_score))


def _fits(answer: ReviewedImage, found: Poses) -> bool:
    """Whether persons that came back as they were given are the ones of their numbers: another network may
    have annotated the image since."""
    for person in answer.persons:
        if person.person is None or not came_as_given(person):
            continue
        labelled = person.visibility > 0
        if person.person >= len(found) or not np.allclose(
            found.keypoints[person.person][labelled], person.keypoints[labelled], atol=UNMOVED_PX
        ):
            return False
    return True


def _box(person: ReviewedPerson) -> tuple[float, float, float, float]:
    """As it was drawn, or around the labelled joints: left, top, width, height, image px."""
    if person.bbox is not None:
        return person.bbox
    labelled = person.keypoints[person.visibility > 0]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    return (*map(float, low), *map(float, high - low))  # type: ignore[return-value]
