from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.memory_store import MemoryStorage
from support.stepped_store import Store

from pipeline.output.generations import Generation, read_generations
from pipeline.output.layout import OutputTree
from pipeline.output.place import Place
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.storage import StorageOptions
from posrefine.errors import InvariantBroken

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = RunRecord(
    fingerprint=Fingerprint.model_construct(), manifest_digest="00", units=1, images=1, input_bytes=1,
    table_units=512, settings={}, weights="w", code_version="0", created_at=WHEN,
)  # fmt: skip


def years_of_hours(count: int) -> MemoryStorage:
    """The records of so many generations."""
    store = Store()
    for number in range(2, count + 1):
        later = Generation.first(RECORD).model_copy(update={"number": number, "first_unit": number - 1})
        store.objects[OutputTree("/out", number).record] = later.encode()
    return MemoryStorage(StorageOptions(), store)


def test_generations_are_read_in_order_beyond_the_ten_thousandth():
    found = read_generations(Place(years_of_hours(10_002), OutputTree("/out")), RECORD)
    assert [one.number for one in found] == list(range(1, 10_003))


def test_one_that_was_removed_is_missed():
    storage = years_of_hours(5)
    del storage.store.objects[OutputTree("/out", 3).record]
    with pytest.raises(InvariantBroken, match="one was removed"):
        read_generations(Place(storage, OutputTree("/out")), RECORD)


def test_a_copy_of_a_generation_or_of_the_output_beside_them_is_none():
    storage = years_of_hours(3)
    record = storage.store.objects[OutputTree("/out", 3).record]
    for place in ("g0003 (copy)", "copy/g0003", "g0003/old"):
        storage.store.objects[f"/out/generations/{place}/generation.json"] = record
    assert len(read_generations(Place(storage, OutputTree("/out")), RECORD)) == 3


def test_one_that_says_other_units_than_it_has_is_missed():
    storage = years_of_hours(5)
    uri = OutputTree("/out", 3).record
    storage.store.objects[uri] = storage.store.objects[uri].replace(b'"units": 1,', b'"units": 1000000000,')
    with pytest.raises(
        InvariantBroken, match="generation 3 says 1000000000 units from 2 on, but generation 4"
    ):
        read_generations(Place(storage, OutputTree("/out")), RECORD)
