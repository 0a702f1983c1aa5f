"""Where everything of a run lies below its output."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.uris import join_uri, normalise_uri

__all__ = ["OutputTree"]

_PARQUET = ".parquet"


@dataclass(frozen=True)
class OutputTree:
    """Addresses below the output `root`, an S3 prefix or a local folder."""

    root: str

    @staticmethod
    def at(uri: str) -> OutputTree:
        """The tree of the output that the user named."""
        return OutputTree(normalise_uri(uri))

    @property
    def run(self) -> str:
        """What the run is, frozen when it began."""
        return join_uri(self.root, "run.json")

    @property
    def manifest(self) -> str:
        """The frozen list of units."""
        return join_uri(self.root, "manifest.parquet")

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
        return join_uri(self.root, "units")

    @property
    def success(self) -> str:
        """The checked counts of the tables; written last."""
        return join_uri(self.root, "tables", "_SUCCESS.json")

    def unit(self, unit_id: str) -> str:
        """The file of one finished unit."""
        return join_uri(self.units, f"{unit_id}{_PARQUET}")

    def unit_id(self, uri: str) -> str:
        """The unit whose file lies at `uri`."""
        return uri.removeprefix(self.units).strip("/").removesuffix(_PARQUET)

    def table(self, name: str, group: int) -> str:
        """File of group number `group` of the table `images` or `persons`."""
        return join_uri(self.root, "tables", name, f"part-{group:05d}{_PARQUET}")
