"""Tables of many units: written by this process alone, and on all cores; the start of Ray included.

    python benchmarks/finalize.py                # 20,000 units of 16 images, two persons in each

The units are made up; they, the listing they come from, and the tables are on this machine's disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from machine import machine, store
from planning import EndlessListing
from process_memory import measured

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.made_up_output import MadeUpOutput
from support.rows import result, some_poses

from pipeline.driver.table_tasks import on_all_cores
from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.manifest import Manifest, write_manifest
from pipeline.output.finalize import finalize, in_this_process
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table
from pipeline.output.unit_footer import encode_unit
from pipeline.output.writer import writing
from pipeline.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
IMAGES_OF_A_UNIT, PERSONS, TEMPLATES = 16, 2, 16
WAYS = {"this process": in_this_process, "all cores": on_all_cores}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument(
        "--only", choices=WAYS, help="finalize the output FOLDER in this process, and say how long it took"
    )
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    if given.only is not None:
        print(json.dumps(tables(given.folder, given.only)))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as name:
        folder = Path(name)
        write_units(folder, given.units)
        for way in WAYS:
            shutil.rmtree(folder / "out" / "tables", ignore_errors=True)
            (folder / "out" / "_SUCCESS.json").unlink(missing_ok=True)
            usage = measured([sys.executable, __file__, "--only", way, str(folder)], ROOT, way)
            rows.append({"way": way, **usage.as_row(), **json.loads(usage.printed.splitlines()[-1])})
    result = {
        "machine": machine(("ray", "pyarrow")),
        "units": given.units,
        "images_of_a_unit": IMAGES_OF_A_UNIT,
    }
    result["times_as_fast"] = round(rows[0]["finalize_s"] / rows[1]["finalize_s"], 2)
    store("finalize", result | {"rows": rows})


def write_units(folder: Path, units: int) -> None:
    output = RunOutput.at(str(folder / "out"), Storage())
    listing = EndlessListing(keys=units * IMAGES_OF_A_UNIT)
    manifest = write_manifest(
        "s3://bucket/in", output.tree.manifest("made-up"), listing, CutOptions(unit_images=IMAGES_OF_A_UNIT)
    )
    record = MadeUpOutput.record_of(manifest, table_units=512)
    output.storage.put(output.tree.run, record.encode())
    metadata = record.table_metadata().encode()
    made = [
        unit_table(
            "u",
            [result(index, some_poses(PERSONS, index)) for index in range(start, start + IMAGES_OF_A_UNIT)],
        )
        for start in range(0, TEMPLATES * IMAGES_OF_A_UNIT, IMAGES_OF_A_UNIT)
    ]
    for number, unit in enumerate(manifest.units()):
        rows = made[number % TEMPLATES]
        for name, values in (
            ("unit", [unit.unit_id] * len(unit.objects)),
            ("uri", [entry.uri for entry in unit.objects]),
            ("image_key", [entry.key for entry in unit.objects]),
        ):
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(
                place, rows.schema.field(name), pa.array(values, rows.schema.field(name).type)
            )
        data = encode_unit(rows, metadata, min_score=0.5, committed_at=datetime.now(UTC))
        output.storage.put(output.tree.unit(unit.unit_id), data)


def tables(folder: Path, way: str) -> dict[str, float]:
    output = RunOutput.at(str(folder / "out"), Storage())
    manifest = Manifest.open(output.tree.manifest("made-up"), output.storage)
    record = output.require_record()
    started = time.perf_counter()
    with writing(output, 60) as writer:
        counts = finalize(writer, record, manifest, write=WAYS[way])
    return {
        "finalize_s": round(time.perf_counter() - started, 2),
        "images": counts.images,
        "persons": counts.persons,
    }


if __name__ == "__main__":
    main()
