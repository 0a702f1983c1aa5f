"""Time and memory of comparing: ten million photographs that are known, listed again with ten thousand others.

Beside it the planning of a run over the same listing. The photographs are not there; inventory, manifest and the
files of the comparison are real.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine import machine, store
from process_memory import measured

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.inputs.changes import changes_of
from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.inventory import Known, KnownWriter, known_of_file
from pipeline.inputs.manifest import write_manifest
from pipeline.storage import Storage
from pipeline.storage.base import ObjectInfo

KEYS, CHANGED = 10_000_000, 10_000
INPUT = "s3://bucket/photographs"


def key_of(number: int) -> str:
    return f"{number // 10_000:05d}/{number:012d}.jpg"


@dataclass(frozen=True)
class GrownListing(Storage):
    """Lists this many keys, and every so often a new one, and one that is another by now; one in as many is gone."""

    keys: int = 0
    every: int = 1

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        for number in range(self.keys):
            place = number % self.every
            if place == 2:
                continue
            etag = f"{number:032x}" if place != 1 else f"{number:031x}0"
            if place == 0:
                yield ObjectInfo(f"{uri}/{key_of(number)[:-4]}-new.jpg", 100_000, f"{number:032x}")
            yield ObjectInfo(f"{uri}/{key_of(number)}", 100_000 + number % 90_000, etag)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS, help="that are known")
    parser.add_argument("--changed", type=int, default=CHANGED, help="new ones, as many stale, as many gone")
    parser.add_argument("--only", choices=("know", "plan", "compare"), help="one step, in this process")
    parser.add_argument("--folder", type=Path, help="of the inventory")
    arguments = parser.parse_args()
    listing = GrownListing(keys=arguments.keys, every=arguments.keys // arguments.changed)
    if arguments.only is not None:
        step = {"know": know, "plan": plan, "compare": compare}[arguments.only]
        print(json.dumps(step(listing, arguments.folder)))
        return
    rows = {}
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as folder:
        for name in ("know", "plan", "compare"):
            command = [
                sys.executable,
                __file__,
                "--keys",
                str(arguments.keys),
                "--changed",
                str(arguments.changed),
            ]
            usage = measured([*command, "--only", name, "--folder", folder], Path.cwd(), name)
            rows[name] = usage.as_row() | json.loads(usage.printed)
    ratio = rows["compare"]["cpu_seconds"] / rows["plan"]["cpu_seconds"]
    store(
        "compare_keys",
        {
            "machine": machine(("pyarrow",)),
            "keys": arguments.keys,
            "changed": arguments.changed,
            "compare_over_plan_cpu": round(ratio, 3),
            "rows": rows,
        },
    )


def know(listing: GrownListing, folder: Path) -> dict[str, int]:
    """An inventory of all keys, as a run and its syncs leave it."""
    path = folder / "inventory.parquet"
    with KnownWriter(path) as known:
        for number in range(listing.keys):
            known.add(Known(key_of(number), f"{number:032x}", 1, number // 128))
    return {"inventory_bytes": path.stat().st_size}


def plan(listing: GrownListing, folder: Path) -> dict[str, int]:
    manifest = write_manifest(INPUT, str(folder / "manifest.parquet"), listing)
    return {"units": manifest.summary.units}


def compare(listing: GrownListing, folder: Path) -> dict[str, int]:
    inventory = str(folder / "inventory.parquet")

    def known(_root: str) -> Iterator[Known]:
        return known_of_file(inventory, Storage())

    with changes_of(INPUT, listing, CutOptions(), known, 2, listing.keys // 128) as changes:
        return {
            "new": changes.new,
            "stale": changes.stale,
            "orphaned": changes.orphaned,
            "units": changes.units.units,
            "written_bytes": sum(
                path.stat().st_size for path in (changes.manifest, changes.inventory, changes.gone)
            ),
        }


if __name__ == "__main__":
    main()
