"""Time and memory of planning: a listing of ten million photographs, which are not there, to a real manifest."""

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

from pipeline.inputs.manifest import write_manifest
from pipeline.storage import Storage
from pipeline.storage.base import ObjectInfo

SIZES = (100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class EndlessListing(Storage):
    """Lists this many keys; writes where it is told."""

    keys: int = 0

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        for number in range(self.keys):
            name = f"{number // 10_000:05d}/{number:012d}.jpg"
            yield ObjectInfo(f"{uri}/{name}", 100_000 + number % 90_000, f"{number:032x}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of keys")
    parser.add_argument(
        "--only", type=int, help="plan this many keys in this process, and print what came out"
    )
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(plan(arguments.only)))
        return
    rows = []
    for keys in map(int, arguments.sizes.split(",")):
        usage = measured([sys.executable, __file__, "--only", str(keys)], Path.cwd(), f"{keys:,} keys")
        rows.append({"keys": keys, **usage.as_row(), **json.loads(usage.printed)})
    store("planning", {"machine": machine(("pyarrow",)), "rows": rows})


def plan(keys: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as folder:
        path = Path(folder, "manifest.parquet")
        manifest = write_manifest("s3://bucket/photographs", str(path), EndlessListing(keys=keys))
        return {"units": manifest.summary.units, "manifest_bytes": path.stat().st_size}


if __name__ == "__main__":
    main()
