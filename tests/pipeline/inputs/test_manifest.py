"""The frozen list of units: stored, found again one by one, and known by its digest."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from support.inputs import PHOTO, fill, photos
from support.shards import make_parquet, make_tar

from pipeline.inputs.manifest import CutOptions, Manifest, cut_into_units, write_manifest
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ObjectMissing

STORAGE = Storage()


def mixed(folder: Path) -> str:
    shards = {"b.tar": make_tar(photos(200)), "c.parquet": make_parquet(photos(40))}
    return fill(folder, {f"a/{name}": data for name, data in photos(300).items()} | shards)


def test_a_stored_manifest_gives_back_every_unit_all_at_once_and_one_by_one(tmp_path):
    source, options = mixed(tmp_path / "in"), CutOptions(unit_images=2, unit_bytes=5000)
    planned = list(cut_into_units(source, STORAGE, options))
    written = write_manifest(source, str(tmp_path / "out/m.parquet"), STORAGE, options)
    manifest = pickle.loads(pickle.dumps(Manifest.open(written.uri, STORAGE)))
    assert len(planned) > 200
    assert manifest == written
    assert list(manifest.units()) == planned
    assert manifest.unit_ids() == [unit.unit_id for unit in planned]
    for unit in planned[::23]:
        assert manifest.unit(unit.unit_id) == unit


def test_the_summary_counts_what_planning_found(tmp_path):
    source = mixed(tmp_path / "in")
    fill(tmp_path / "in", {"notes.txt": b""})
    summary = write_manifest(source, str(tmp_path / "m.parquet"), STORAGE).summary
    assert (summary.images, summary.tars, summary.parquet_files) == (340, 1, 1)
    assert summary.skipped == {".txt": 1}
    assert summary.units == len(list(cut_into_units(source, STORAGE)))


def test_the_same_input_has_the_same_digest_and_a_changed_one_another(tmp_path):
    source = mixed(tmp_path / "in")
    digests = [
        write_manifest(source, str(tmp_path / f"{n}.parquet"), STORAGE).summary.digest for n in range(2)
    ]
    fill(tmp_path / "in", {"a/00000.jpg": PHOTO + b"more"})
    digests.append(write_manifest(source, str(tmp_path / "3.parquet"), STORAGE).summary.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_unit_that_is_not_there_is_named(tmp_path):
    manifest = write_manifest(fill(tmp_path / "in", photos(1)), str(tmp_path / "m.parquet"), STORAGE)
    for unit_id in ("u00000001", "nonsense", "v00000000"):
        with pytest.raises(ConfigurationError, match=unit_id):
            manifest.unit(unit_id)


def test_another_file_at_the_manifests_address_is_no_manifest(tmp_path):
    uri = fill(tmp_path, {"m.parquet": make_parquet(photos(1))}) + "/m.parquet"
    with pytest.raises(ConfigurationError, match="no manifest"):
        Manifest.open(uri, STORAGE)
    with pytest.raises(ObjectMissing):
        Manifest.open(str(tmp_path / "nothing"), STORAGE)


PLANNING = """
import sys
import tracemalloc
from pathlib import Path

from pipeline.inputs.load import load_unit
from pipeline.inputs.manifest import write_manifest
from pipeline.storage import ObjectInfo, Storage


class Listing(Storage):
    photos = 60_000

    def list(self, uri):
        for number in range(self.photos):
            yield ObjectInfo(f"{uri}/{number:012d}.jpg", 150_000, f"{number:032x}")


class ShortListing(Listing):
    photos = 1_000


folder = Path(sys.argv[1])
# What the libraries load when they are first used is not counted.
write_manifest("/photos", str(folder / "first.parquet"), ShortListing())
tracemalloc.start()
manifest = write_manifest("/photos", str(folder / "m.parquet"), Listing())
print(manifest.summary.images, tracemalloc.get_traced_memory()[1])
"""


def test_planning_many_photos_takes_bounded_memory(tmp_path):
    # A process of its own: what other tests' threads allocate meanwhile is not planning's.
    done = subprocess.run(
        [sys.executable, "-c", PLANNING, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    images, peak_bytes = map(int, done.stdout.split())
    assert images == 60_000
    assert peak_bytes < 10 * 2**20  # the units themselves would take twice that
