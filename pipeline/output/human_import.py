"""One reviewer's answers on their way into the store: named by what they say, so that twice is once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.human_files import HUMAN_SCHEMA, RUN_ID
from pipeline.output.human_log import HumanEntry, HumanImport, HumanLog
from pipeline.output.parquet import encode_table
from pipeline.output.schema import LABELLED, lists_of, persons_column
from pipeline.output.writer import OutputWriter
from posrefine.errors import ImageStatus
from posrefine.poses import Poses
from posrefine.version import code_version

__all__ = ["HumanImage", "MatchedBy", "add_imports", "digest_of", "restore_imports", "undo_imports"]

MatchedBy = Literal["sha256", "image_key"]


@dataclass(frozen=True, eq=False)
class HumanImage:
    """What a reviewer said about an image.

    Attributes:
        sha256: of its bytes.
        image_key: of the tables.
        matched_by: how the answer found it.
        generation: whose unit the image is in.
        width, height: px, of the frame of the keypoints.
        place: where in which file the answer stood.
        status: what became of it in the run.
        error: why it failed there.
        keypoints: [N, K, 2] float32, image px; 0, 0 where not labelled.
        visibility: [N, K] int8, COCO's.
        boxes_xywh: [N, 4] float32, image px.
        pre_labels: [N] which of the network's persons each is the same as, or None.
        found: the network's persons, with their K joints.
    """

    sha256: str
    image_key: str
    matched_by: MatchedBy
    generation: int
    width: int
    height: int
    place: str
    keypoints: NDArray[np.float32]
    visibility: NDArray[np.int8]
    boxes_xywh: NDArray[np.float32]
    pre_labels: tuple[int | None, ...]
    found: Poses
    status: ImageStatus = ImageStatus.OK
    error: str | None = None

    def says(self) -> bytes:
        """What two answers must have in common to be the same one, in whatever order their persons stand."""
        head = f"{self.sha256} {len(self.keypoints)}\n".encode()
        persons = zip(self.keypoints, self.visibility, self.boxes_xywh, strict=True)
        return head + b"".join(sorted(b"".join(part.tobytes() for part in person) for person in persons))


def digest_of(reviewer: str, images: Sequence[HumanImage]) -> str:
    """SHA-256 over what a reviewer said, in whatever order and files."""
    digest = hashlib.sha256(reviewer.encode() + b"\0")
    for said in sorted(image.says() for image in images):
        digest.update(hashlib.sha256(said).digest())
    return digest.hexdigest()


def add_imports(
    writer: OutputWriter,
    answers: Sequence[tuple[str, Sequence[HumanImage]]],
    files: Sequence[str],
    run_id: str,
) -> tuple[HumanImport, ...]:
    """Store what reviewers said, and that it counts; the imports that did not count already.

    The rows are put first; the log's entry is one put, and the commit of all of them. The tables are not
    touched: `finalize` brings them up to date.

    Args:
        writer: of the output.
        answers: reviewers and their images; where two hold the same one, the later counts.
        files: that they stood in.
        run_id: whose network's persons the answers are kept with.

    Raises:
        OutputLocked: the lease was lost.
    """
    log = HumanLog(writer.output.storage, writer.output.tree)
    counting = {one.digest for one in log.active()}
    added = []
    for reviewer, images in answers:
        digest = digest_of(reviewer, images)
        if digest in counting:
            continue
        persons = sum(len(image.keypoints) for image in images)
        keys = {image.sha256: image.image_key for image in images}
        added.append(
            HumanImport(digest=digest, reviewer=reviewer, images=len(images), persons=persons, keys=keys)
        )
        writer.human_rows(digest, encode_table(_table(images), {RUN_ID: run_id.encode()}))
    if added:
        _append(writer, log, "import", added, files)
    return tuple(added)


def restore_imports(
    writer: OutputWriter, answers: Sequence[tuple[str, Sequence[HumanImage]]], run_id: str
) -> tuple[HumanImport, ...]:
    """Store again what reviewers said, where it counts and its file is damaged or was removed; those imports.

    Arguments and errors are those of `add_imports`.
    """
    people = writer.output.human_rows()
    counting = {one.digest: one for one in people.log.active()}
    restored = []
    for reviewer, images in answers:
        one = counting.get(digest_of(reviewer, images))
        if one is not None and people.files.whole(one) is None:
            writer.human_rows(one.digest, encode_table(_table(images), {RUN_ID: run_id.encode()}))
            restored.append(one)
    return tuple(restored)


def undo_imports(writer: OutputWriter, imports: Sequence[HumanImport]) -> None:
    """Say that these imports count no more; their rows stay. The tables are not touched, as above.

    Raises:
        OutputLocked: the lease was lost.
    """
    _append(writer, HumanLog(writer.output.storage, writer.output.tree), "undo", imports, ())


def _append(
    writer: OutputWriter,
    log: HumanLog,
    kind: Literal["import", "undo"],
    imports: Sequence[HumanImport],
    files: Sequence[str],
) -> None:
    entry = HumanEntry(
        kind=kind,
        imports=tuple(imports),
        files=tuple(files),
        at=datetime.now(UTC),
        lease_generation=writer.lock.generation,
        code_version=code_version(),
    )
    writer.commit(log.next_uri(), entry.encode())


def _table(images: Sequence[HumanImage]) -> pa.Table:
    """With `HUMAN_SCHEMA`, in the order of their hashes."""
    images = sorted(images, key=lambda image: image.sha256)
    columns = {
        "sha256": [image.sha256 for image in images],
        "image_key": [image.image_key for image in images],
        "matched_by": [image.matched_by for image in images],
        "generation": [image.generation for image in images],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "place": [image.place for image in images],
        "status": [image.status.value for image in images],
        "error": [image.error for image in images],
        "persons": _persons(images),
        "pre_labels": [list(image.pre_labels) for image in images],
        "found": persons_column([image.found for image in images]),
    }
    return pa.table(
        {name: pa.array(column, HUMAN_SCHEMA.field(name).type) if isinstance(column, list) else column
         for name, column in columns.items()},
        schema=HUMAN_SCHEMA,
    )  # fmt: skip


def _persons(images: Sequence[HumanImage]) -> pa.ListArray:
    """The reviewer's persons, image by image, as they lie in the tables."""
    kind = HUMAN_SCHEMA.field("persons").type
    keypoints = np.concatenate([image.keypoints for image in images])
    visibility = np.concatenate([image.visibility for image in images]).astype(np.int8)
    count = len(keypoints)
    members = [
        pa.array(np.ones(count, np.float32)),
        lists_of(np.concatenate([image.boxes_xywh for image in images])),
        lists_of(keypoints.reshape(count, -1) if count else np.zeros((0, 0), np.float32)),
        lists_of(np.where(visibility > 0, LABELLED, 0.0).astype(np.float32)),
        pa.nulls(count, pa.list_(pa.float32())),
        lists_of(visibility),
    ]
    structs = pa.StructArray.from_arrays(members, fields=list(kind.value_type))
    offsets = np.cumsum([0, *(len(image.keypoints) for image in images)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)
