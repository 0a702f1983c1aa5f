"""Whose `outcome.json` it is: an attempt that another run was faster than leaves it alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.images import encode, gradient

from pipeline.driver.attempts import outcome_where_it_breaks_off, outcome_where_preparing_fails
from pipeline.driver.run import run
from pipeline.inputs.cutting import cut_options
from pipeline.inputs.manifest import write_manifest
from pipeline.model.network import Network, load_network
from pipeline.output.outcome import Outcome
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.tally import RunTally
from pipeline.output.writer import writing
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.errors import FingerprintMismatch, OutputLocked, PosRefineError, StorageError

WINNERS = b"the winner's"
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


class Idle:
    tally: RunTally | None = None


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(encode(gradient(64, 48)))
    return RunSettings(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), model="posrefine_tiny", weights="untrained",
        precision="float32", device="cpu",
    )  # fmt: skip


def test_who_finds_another_runs_record_under_the_lock_leaves_its_outcome(settings: RunSettings):
    output = RunOutput.at(settings.output, Storage())

    def load_while_another_run_is_faster(own: RunSettings, storage: Storage) -> Network:
        network, other = load_network(own, storage), own.model_copy(update={"flip": False})
        path = Path(f"{own.output}.manifest")
        manifest = write_manifest(own.input, str(path), storage, cut_options(own))
        storage.put(output.tree.manifest(manifest.summary.digest), path.read_bytes())
        fingerprint = Fingerprint.of(other, network.identity, None)
        storage.put(output.tree.run, RunRecord.of(other, fingerprint, manifest.summary, None).encode())
        storage.put(output.tree.outcome, WINNERS)
        return network

    with pytest.raises(FingerprintMismatch, match="flip"):
        run(settings, load_while_another_run_is_faster)
    assert Storage().read_bytes(output.tree.outcome) == WINNERS


@pytest.mark.parametrize("error", [FingerprintMismatch("another run's"), OutputLocked("lost")])
def test_neither_before_nor_under_the_lock_a_loser_writes_an_outcome(
    settings: RunSettings, error: PosRefineError
):
    output = RunOutput.at(settings.output, Storage())
    Storage().put(output.tree.outcome, WINNERS)
    with pytest.raises(type(error)), outcome_where_preparing_fails(settings):
        raise error
    with writing(output, 60) as writer:
        breaking_off = outcome_where_it_breaks_off(writer, Idle(), started_at=BEGUN, note=None)
        with pytest.raises(type(error)), breaking_off:
            raise error
    assert Storage().read_bytes(output.tree.outcome) == WINNERS


def test_whoever_holds_the_output_says_how_it_ended(settings: RunSettings):
    output = RunOutput.at(settings.output, Storage())
    with writing(output, 60) as writer:
        breaking_off = outcome_where_it_breaks_off(writer, Idle(), started_at=BEGUN, note=None)
        with pytest.raises(StorageError), breaking_off:
            raise StorageError("away")
    found = output.outcome()
    assert isinstance(found, Outcome)
    assert (found.complete, found.message) == (False, "StorageError: away")
