"""Where everything of a run lies below its output."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from pipeline.output.delta import APP
from pipeline.storage.uris import join_uri, normalise_uri

__all__ = ["WORK", "OutputTree"]

WORK = r"^(networks/[0-9a-f]{12})?$"
"""What `OutputTree.work` looks like: what a file says of it must not lead anywhere else."""

_PARQUET = ".parquet"


@dataclass(frozen=True)
class OutputTree:
    """Addresses below the output `root`, an S3 prefix or a local folder.

    Units and their list are those of one generation; the first one's lie at the top.

    Attributes:
        root: of all of it.
        generation: whose units and list are meant.
        work: folder, below the root, of record, lists and units: empty until the network was replaced.
    """

    root: str
    generation: int = 1
    work: str = ""

    @staticmethod
    def at(uri: str) -> OutputTree:
        """The tree of the output that the user named."""
        return OutputTree(normalise_uri(uri))

    @property
    def base(self) -> str:
        """Folder of record, lists and units."""
        return join_uri(self.root, self.work) if self.work else self.root

    @property
    def app(self) -> str:
        """Names the network's generations in the logs of the tables, where they begin at 1 with each."""
        return f"{APP}/{self.work}" if self.work else APP

    @property
    def run(self) -> str:
        """What the run is, frozen when it began."""
        return join_uri(self.base, "run.json")

    def manifest(self, digest: str) -> str:
        """The frozen list of units with that digest; the record says which one is the run's."""
        return join_uri(self._own, f"manifest-{digest[:16]}{_PARQUET}")

    @property
    def generations(self) -> str:
        """Folder of what later generations added."""
        return join_uri(self.base, "generations")

    @property
    def _own(self) -> str:
        """Folder of this generation."""
        if self.generation == 1:
            return self.base
        return join_uri(self.generations, f"g{self.generation:04d}")

    @property
    def record(self) -> str:
        """What a later generation is, frozen when it was planned."""
        return join_uri(self._own, "generation.json")

    def inventory(self, digest: str) -> str:
        """All that the output holds with a later generation."""
        return join_uri(self._own, f"inventory-{digest[:16]}{_PARQUET}")

    def gone(self, digest: str) -> str:
        """What leaves the tables with a later generation."""
        return join_uri(self._own, f"gone-{digest[:16]}{_PARQUET}")

    @property
    def lock(self) -> str:
        """The lease of the run that writes here."""
        return join_uri(self.root, "lock.json")

    @property
    def outcome(self) -> str:
        """How the last run ended."""
        return join_uri(self.root, "outcome.json")

    @property
    def units(self) -> str:
        """Folder of the finished units' files."""
        return join_uri(self._own, "units")

    @property
    def tables(self) -> str:
        """Folder of the tables."""
        return join_uri(self.root, "tables")

    @property
    def queues(self) -> str:
        """Folder of the queues of images that people should look at."""
        return join_uri(self.root, "review", "queues")

    def queue(self, number: int, queue_id: str) -> str:
        """One of them; written once. Later ones have higher numbers."""
        return join_uri(self.queues, f"{number:08d}-{queue_id}{_PARQUET}")

    @property
    def success(self) -> str:
        """The checked counts of the tables; written last."""
        return join_uri(self.root, "tables", "_SUCCESS.json")

    @property
    def review(self) -> str:
        """Folder of what people are asked, and of what they answered."""
        return join_uri(self.root, "review")

    @property
    def human_log(self) -> str:
        """Folder of the log of what people corrected."""
        return join_uri(self.review, "log")

    def human_entry(self, number: int) -> str:
        """An entry of that log; numbers begin with 0."""
        return join_uri(self.human_log, f"{number:08d}.json")

    @property
    def imports(self) -> str:
        """Folder of the rows of people's imports."""
        return join_uri(self.review, "imports")

    def human_rows(self, digest: str) -> str:
        """The rows of one import by one reviewer."""
        return join_uri(self.imports, f"{digest[:32]}{_PARQUET}")

    def unit(self, unit_id: str) -> str:
        """The file of one finished unit."""
        return join_uri(self.units, f"{unit_id}{_PARQUET}")

    def unit_id(self, uri: str) -> str:
        """The unit whose file lies at `uri`."""
        return uri.removeprefix(self.units).strip("/").removesuffix(_PARQUET)

    def table_folder(self, name: str) -> str:
        """Folder of the table `images` or `persons`."""
        return join_uri(self.root, "tables", name)

    def table(self, name: str, file: str) -> str:
        """A file of the table `images` or `persons`."""
        return join_uri(self.table_folder(name), file)

    @staticmethod
    def new_table_file(generation: int, group: int) -> str:
        """A name for the files of a group that nobody has given yet, in both tables."""
        return f"part-g{generation:04d}-{group:05d}-{uuid4().hex[:12]}{_PARQUET}"
