"""What every attempt at an output has in common: how its network is made, and what it leaves when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pipeline.output.outcome import Outcome
from pipeline.output.run_output import RunOutput
from pipeline.output.tally import RunTally
from pipeline.output.writer import OutputWriter, writing
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.errors import FingerprintMismatch, OutputLocked, PosRefineError, StorageError

__all__ = ["LoadNetwork", "Tallied", "outcome_where_it_breaks_off", "outcome_where_preparing_fails"]

if TYPE_CHECKING:
    from pipeline.model.network import Network

LoadNetwork = Callable[[RunSettings, Storage], "Network"]


class Tallied(Protocol):
    """Work that says where it stands."""

    @property
    def tally(self) -> RunTally | None:
        """Where it stands; None where there was nothing to do."""


@contextmanager
def outcome_where_preparing_fails(settings: RunSettings) -> Iterator[None]:
    """Writes `outcome.json` where the block raises, unless there is one, or another run is at work there."""
    started_at = datetime.now(UTC)
    try:
        yield
    except (FingerprintMismatch, OutputLocked):
        raise
    except PosRefineError as error:
        outcome = Outcome.broken_off(error, None, started_at=started_at, note=None)
        output = RunOutput.at(settings.output, Storage())
        with (
            suppress(StorageError, OutputLocked),
            writing(output, settings.lock_expiry_s, patient=False) as writer,
        ):
            writer.first_outcome(outcome)
        raise


@contextmanager
def outcome_where_it_breaks_off(
    writer: OutputWriter, drive: Tallied, *, started_at: datetime, note: str | None
) -> Iterator[None]:
    """Writes `outcome.json` where the block raises, if the store still lets it.

    An attempt that lost its lease, or found another run's record, leaves it alone: it is the winner's.
    """
    try:
        yield
    except (FingerprintMismatch, OutputLocked):
        raise
    except BaseException as error:
        outcome = Outcome.broken_off(error, drive.tally, started_at=started_at, note=note)
        with suppress(StorageError, OutputLocked):
            writer.outcome(outcome)
        raise
