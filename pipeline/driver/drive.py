"""Drives the stages over the pending units and counts their receipts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType

import ray

from pipeline.driver.few_images import FewImages, processors_here
from pipeline.driver.lossy import push
from pipeline.driver.machines import wait_for_machines
from pipeline.driver.otlp import otlp_exporting
from pipeline.driver.processors import looking_now_and_then
from pipeline.driver.progress import show_progress
from pipeline.driver.ray_watch import while_ray_is_there
from pipeline.driver.telemetry import Telemetry
from pipeline.driver.waiting import waiting_for_actors
from pipeline.ground_truth.image_names import NamedImages
from pipeline.inputs.cutting import listed_skipped
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.readers import ReadOptions, read_options
from pipeline.model.network import Network
from pipeline.output.lock import RunLock
from pipeline.output.record import RunRecord
from pipeline.output.tally import RunTally
from pipeline.output.writer import OutputWriter
from pipeline.ray_session import ray_session, unwrapped_worker_errors
from pipeline.settings.run import RunSettings
from pipeline.stages.cluster import (
    ClusterLayout,
    actor_bytes,
    cluster_layout,
    cluster_nodes,
    processors_of,
)
from pipeline.stages.dataset import receipts_of
from pipeline.stages.quarantine import start_ledger
from pipeline.stages.receipt import Receipt
from pipeline.stages.tasks import StageContext
from pipeline.storage.uris import normalise_uri
from posrefine.errors import InvariantBroken

__all__ = [
    "Drive",
]

logger = logging.getLogger(__name__)

# Ray Data keeps every pending unit of a dataset in the driver, at about a millisecond each to begin with.
_UNITS_PER_DATASET = 20_000


@dataclass
class Drive:
    """Annotates units on Ray, a handful of images without it; stays connected until its `with` block ends.

    Attributes:
        settings: of the run.
        network: the network with its weights.
        image_names: tells the image id of an image key.
        telemetry: the numbers; None until there were units to work on.
    """

    settings: RunSettings
    network: Network
    image_names: NamedImages
    telemetry: Telemetry | None = None
    _session: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Drive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    @property
    def tally(self) -> RunTally | None:
        """Where the run stands; None where there was nothing to do."""
        return None if self.telemetry is None else self.telemetry.tally()

    def annotate(
        self,
        pending: Sequence[str],
        manifest: Manifest,
        record: RunRecord,
        writer: OutputWriter,
        *,
        again: ReadOptions | None = None,
    ) -> None:
        """Annotate and commit the pending units.

        Args:
            pending: their ids.
            manifest: with all units.
            record: of the run.
            writer: whose output the units go to, and whose lease they are written under.
            again: the units are finished; only their failed images are to be worked on, read like this.

        Raises:
            PosRefineError: what a worker raised that is not one image's fault, or a lost lock.
            InvariantBroken: Ray finished without a receipt for each unit.
        """
        began_s = time.monotonic()  # Ray's start is a part of the run's time
        context = self._context(manifest, record, writer, again)
        few = FewImages(context, self.network, self.image_names)
        if few.worth_no_ray(pending):
            pending = self._beside_this_process(few, pending, record, writer.lock, began_s)
            if not pending:
                return
        self._session.enter_context(ray_session())
        with unwrapped_worker_errors():
            memory = actor_bytes(self.settings, self.network.identity.input_size)
            settings, nodes = wait_for_machines(self.settings)
            layout = cluster_layout(settings, nodes, memory)
            context = replace(
                context,
                ledger=start_ledger(),
                network=ray.put(self.network),
                image_names=ray.put(self.image_names),
            )
            with (
                self._told(record, len(pending), layout.processors, _actors(layout), began_s) as telemetry,
                looking_now_and_then(lambda: self._see_processors(layout)),
                waiting_for_actors(context.ledger, layout, self.settings.actor_wait_s) as starting,
            ):
                receipts = _in_datasets(pending, context, layout)
                for receipt in while_ray_is_there(receipts, starting.require):
                    telemetry.receive(receipt)
                    writer.lock.check()
                    starting.require()
        done = telemetry.tally().units_done
        if done != record.units:
            raise InvariantBroken(f"receipts for {done} of {record.units} units; nothing is lost: run again")

    def _context(
        self, manifest: Manifest, record: RunRecord, writer: OutputWriter, again: ReadOptions | None
    ) -> StageContext:
        return StageContext(
            settings=self.settings,
            manifest=manifest,
            reading=again or read_options(self.settings, self.network.identity.input_size),
            output=writer.output,
            witness=writer.lock.witness,
            generation=writer.lock.generation,
            again=again is not None,
            metadata=record.table_metadata().encode(),
        )

    def _beside_this_process(
        self, few: FewImages, pending: Sequence[str], record: RunRecord, lock: RunLock, began_s: float
    ) -> Sequence[str]:
        """Annotate and commit units in one process and without Ray; those that are left."""
        done = set()
        processors = processors_here(self.settings.device)
        with (
            self._told(record, len(pending), processors, "without Ray", began_s) as telemetry,
            closing(few.receipts_of(pending)) as receipts,
        ):
            for receipt in receipts:
                done.add(receipt.unit_id)
                telemetry.receive(receipt)
                lock.check()
        return [unit_id for unit_id in pending if unit_id not in done]

    @contextmanager
    def _told(
        self, record: RunRecord, pending: int, processors: float, who: str, began_s: float
    ) -> Iterator[Telemetry]:
        """What is counted in the block, served, shown, sent and pushed."""
        logger.info(_opening_line(record, pending, who))
        self.telemetry = telemetry = Telemetry(
            record.units, record.units - pending, processors, min_score=record.min_score, began_s=began_s
        )
        output = self.settings.output
        try:
            with (
                telemetry.serving(self.settings.metrics_port, self.settings.metrics_host),
                otlp_exporting(telemetry.registry, self.settings.otlp, normalise_uri(output)),
                show_progress(telemetry.tally),
            ):
                yield telemetry
        finally:
            push(telemetry.registry, self.settings.pushgateway, "posrefine", output)

    def _see_processors(self, layout: ClusterLayout) -> None:
        assert self.telemetry is not None
        self.telemetry.see_processors(processors_of(cluster_nodes(), on_gpus=layout.gpus_per_actor > 0))


def _in_datasets(pending: Sequence[str], context: StageContext, layout: ClusterLayout) -> Iterator[Receipt]:
    for start in range(0, len(pending), _UNITS_PER_DATASET):
        yield from receipts_of(pending[start : start + _UNITS_PER_DATASET], context, layout)


def _actors(layout: ClusterLayout) -> str:
    number = f"{layout.least_actors} to {layout.actors}" if layout.grows else str(layout.actors)
    if layout.gpus_per_actor:
        return f"{number} inference actors of {layout.gpus_per_actor:g} GPUs each"
    return f"{number} inference actors of {layout.threads_per_actor} threads each"


def _opening_line(record: RunRecord, pending: int, who: str) -> str:
    known = f", {record.images:,} images known from listing" if record.images else ""
    line = f"{pending:,} of {record.units:,} units to do{known}; {who}"
    if record.skipped:
        line += f"; no input, and skipped: {listed_skipped(record.skipped)}"
    return line if record.note is None else f"{line}; {record.note}"
