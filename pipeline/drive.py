"""Drives the stages over the pending units and counts their receipts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

import ray

from pipeline.cluster import ClusterPlan, cluster_nodes, plan_cluster
from pipeline.config import RunSettings
from pipeline.image_gate import ImageLimits
from pipeline.image_ids import ImageIds
from pipeline.layout import OutputTree
from pipeline.lock import RunLock
from pipeline.manifest import Manifest
from pipeline.network import Network
from pipeline.progress import show_progress
from pipeline.quarantine import start_ledger
from pipeline.readers import ReadOptions
from pipeline.receipt import Receipt
from pipeline.record import RunRecord
from pipeline.session import own_errors, ray_session
from pipeline.stage_tasks import StageContext
from pipeline.stages import receipts_of
from pipeline.storage import Storage
from pipeline.telemetry import RunTally, Telemetry
from pipeline.waiting import waiting_for_actors
from posrefine.errors import InvariantBroken

__all__ = ["Drive", "read_options"]

logger = logging.getLogger(__name__)

# Ray Data keeps every pending unit of a dataset in the driver, at about a millisecond each to begin with.
_UNITS_PER_DATASET = 20_000


def read_options(settings: RunSettings) -> ReadOptions:
    """How the settings fetch and decode images."""
    limits = ImageLimits(max_encoded_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels)
    return ReadOptions(
        limits=limits,
        exif=settings.exif,
        image_column=settings.image_column,
        key_column=settings.key_column,
    )


@dataclass
class Drive:
    """Annotates units on Ray; stays connected until its `with` block ends.

    Attributes:
        settings: of the run.
        storage: of the output.
        tree: where the output lies.
        network: the network with its weights.
        image_ids: which image id an image key stands for.
        telemetry: the numbers; None until there were units to work on.
    """

    settings: RunSettings
    storage: Storage
    tree: OutputTree
    network: Network
    image_ids: ImageIds
    telemetry: Telemetry | None = None
    _session: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Drive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    @property
    def tally(self) -> RunTally | None:
        """Where the run stands; None where there was nothing to do."""
        return None if self.telemetry is None else self.telemetry.tally()

    def annotate(self, pending: Sequence[str], manifest: Manifest, record: RunRecord, lock: RunLock) -> None:
        """Annotate and commit the pending units.

        Raises:
            PosRefineError: what a worker raised that is not one image's fault, or a lost lock.
            InvariantBroken: Ray finished without a receipt for each unit.
        """
        self._session.enter_context(ray_session())
        with own_errors():
            plan = plan_cluster(self.settings, cluster_nodes())
            context = self._context(manifest, record)
            logger.info(_opening_line(record, len(pending), plan))
            self.telemetry = Telemetry(record.units, record.units - len(pending), plan.actors)
            try:
                with (
                    self.telemetry.serving(self.settings.metrics_port),
                    show_progress(self.telemetry.tally),
                    waiting_for_actors(context.ledger, plan, self.settings.actor_wait_s),
                ):
                    self._count(_in_datasets(pending, context, plan), lock)
            finally:
                self._push_metrics()
        done = self.telemetry.tally().units_done
        if done != record.units:
            raise InvariantBroken(f"receipts for {done} of {record.units} units; nothing is lost: run again")

    def _context(self, manifest: Manifest, record: RunRecord) -> StageContext:
        return StageContext(
            settings=self.settings,
            storage=self.storage,
            manifest=manifest,
            reading=read_options(self.settings),
            tree=self.tree,
            metadata=record.table_metadata().encode(),
            ledger=start_ledger(),
            network=ray.put(self.network),
            image_ids=ray.put(self.image_ids),
        )

    def _count(self, receipts: Iterator[Receipt], lock: RunLock) -> None:
        assert self.telemetry is not None
        for receipt in receipts:
            self.telemetry.receive(receipt)
            lock.check()

    def _push_metrics(self) -> None:
        if self.settings.pushgateway is None or self.telemetry is None:
            return
        try:
            self.telemetry.push(self.settings.pushgateway, self.tree.root)
        except OSError as error:
            # Metrics are for watching: losing them must not change how the run ends.
            logger.warning("metrics could not be pushed to %s: %s", self.settings.pushgateway, error)


def _in_datasets(pending: Sequence[str], context: StageContext, plan: ClusterPlan) -> Iterator[Receipt]:
    for start in range(0, len(pending), _UNITS_PER_DATASET):
        yield from receipts_of(pending[start : start + _UNITS_PER_DATASET], context, plan)


def _opening_line(record: RunRecord, pending: int, plan: ClusterPlan) -> str:
    known = f", {record.images:,} images known from listing" if record.images else ""
    each = f"{plan.cpus_per_actor:g} CPUs and {plan.gpus_per_actor:g} GPUs each"
    line = f"{pending:,} of {record.units:,} units to do{known}; {plan.actors} inference actors with {each}"
    return line if record.note is None else f"{line}; {record.note}"
