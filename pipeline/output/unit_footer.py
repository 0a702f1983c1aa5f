"""What the footer of a unit's file says of its rows, so that a status reads no rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from pipeline.output.parquet import encode_table
from pipeline.output.person_count import PersonCount
from pipeline.settings.problems import problems_of
from posrefine.errors import ImageStatus, ShardError

__all__ = ["UnitFooter", "encode_unit"]

_KEY = b"posrefine.unit"


class UnitFooter(BaseModel):
    """What became of a unit's images; written with their rows, as JSON under the key `posrefine.unit`.

    Attributes:
        images: by status.
        persons: with a score of at least the run's least one.
        persons_below: the others.
        skipped: what the part of a tar that the rows are of held besides images; by suffix or word.
        committed_at: when the file was put.
        lease_generation: of the lease under which it was put; None where there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: dict[ImageStatus, int]
    persons: int
    persons_below: int
    skipped: dict[str, int] = {}
    committed_at: AwareDatetime
    lease_generation: int | None = None

    @staticmethod
    def of(uri: str, metadata: Mapping[bytes, bytes] | None) -> UnitFooter:
        """By the key-value metadata of the file at `uri`.

        Raises:
            ShardError: there is none.
        """
        try:
            footer = UnitFooter.model_validate_json((metadata or {})[_KEY])
        except (KeyError, ValidationError) as error:
            why = problems_of(error) if isinstance(error, ValidationError) else f"no {_KEY.decode()}"
            raise ShardError(
                f"{uri}: its footer does not say what became of its images, so no run of this version wrote "
                f"it ({why}); delete it and `run` again, which makes it anew"
            ) from error
        return footer.model_copy(update={"committed_at": footer.committed_at.astimezone(UTC)})

    @property
    def people(self) -> PersonCount:
        """The persons, counted and below."""
        return PersonCount(self.persons, self.persons_below)

    @property
    def failed(self) -> int:
        """Images without keypoints."""
        return sum(count for status, count in self.images.items() if status is not ImageStatus.OK)


def encode_unit(
    rows: pa.Table,
    metadata: Mapping[bytes, bytes],
    *,
    min_score: float,
    committed_at: datetime,
    skipped: Mapping[str, int] | None = None,
    lease_generation: int | None = None,
) -> bytes:
    """A unit's file.

    Args:
        rows: with `UNIT_SCHEMA`.
        metadata: what a reader of any file of the run must know; see `TableMetadata`.
        min_score: of the run: from it on persons are counted.
        committed_at: now.
        skipped: as in `UnitFooter`.
        lease_generation: likewise.
    """
    people = PersonCount.of(rows["persons"], min_score)
    footer = UnitFooter(
        images={ImageStatus(v["values"]): v["counts"] for v in pc.value_counts(rows["status"]).to_pylist()},
        persons=people.counted,
        persons_below=people.below,
        skipped=dict(skipped or {}),
        committed_at=committed_at,
        lease_generation=lease_generation,
    )
    return encode_table(rows, {**metadata, _KEY: footer.model_dump_json().encode()})
