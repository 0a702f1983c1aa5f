"""Whatever stands in the JSON files of an output is an error that names the file, or changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from support.memory_store import MemoryStorage
from support.standing import Standing, picture
from support.stepped_store import Store

from pipeline.driver.run import finalize_run
from pipeline.output.status import read_status
from pipeline.storage import StorageOptions
from posrefine.errors import InvariantBroken, PosRefineError

IN, OUT = "s3://photos/in", "s3://results/out"
RUN, SUCCESS, SECOND = (
    f"{OUT}/{name}" for name in ("run.json", "tables/_SUCCESS.json", "generations/g0002/generation.json")
)
COMMIT = f"{OUT}/tables/images/_delta_log/00000000000000000000.json"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    """Of an output with two generations, the later of which took one image and replaced another."""
    standing = standing_on({f"{IN}/{number}.png": picture(number) for number in range(4)})
    standing.sync()
    standing.storage.put(f"{IN}/2.png", picture(77))
    standing.storage.put(f"{IN}/4.png", picture(-1))
    standing.sync()
    return store_of(standing).objects


def standing_on(objects: dict[str, bytes]) -> Standing:
    store = Store()
    store.objects.update(objects)
    return Standing(MemoryStorage(StorageOptions(), store), IN, OUT)


def store_of(standing: Standing) -> Store:
    assert isinstance(standing.storage, MemoryStorage)
    return standing.storage.store


def with_value(data: bytes, path: tuple[str, ...], value: Any) -> bytes:
    lines = [json.loads(line) for line in data.splitlines()] if path[0] == "add" else [json.loads(data)]
    for line in lines:
        if path[0] in line:
            inner = line
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = "@" if value == DEEP else value
    return "\n".join(json.dumps(line).replace('"@"', DEEP) for line in lines).encode()


@contextmanager
def refused_by_name() -> Iterator[None]:
    """What is refused in the block is refused with the place where it stands; all else comes through."""
    try:
        yield
    except PosRefineError as error:
        if OUT not in str(error) and "run.json" not in str(error):
            raise


DAMAGE: list[tuple[str, tuple[str, ...], Any]] = [
    (RUN, ("table_units",), 0),
    (RUN, ("table_units",), -1),
    (RUN, ("units",), -1),
    (RUN, ("units",), 3),
    (RUN, ("units",), 10**9),
    (RUN, ("settings", "min_score"), None),
    (RUN, ("settings", "min_score"), "x"),
    (RUN, ("settings", "min_score"), float("nan")),
    (SUCCESS, ("generation",), 0),
    (SUCCESS, ("generation",), -1),
    (SUCCESS, ("generation",), DEEP),
    (SUCCESS, ("work",), 5),
    (SUCCESS, ("work",), DEEP),
    (SUCCESS, ("work",), "../elsewhere"),
    (SUCCESS, ("replaced",), "../elsewhere"),
    (SUCCESS, ("human_version",), -1),
    (SUCCESS, ("persons",), 10**400),
    (SUCCESS, ("generation",), 10**400),
    (SECOND, ("stale",), -4),
    (SECOND, ("first_unit",), -1),
    (SECOND, ("first_unit",), 10**9),
    (SECOND, ("units",), -1),
    (SECOND, ("units",), 10**9),
    (SECOND, ("number",), 0),
    (COMMIT, ("add", "path"), []),
    (COMMIT, ("add", "path"), DEEP),
    (COMMIT, ("add", "path"), "\ud800"),
    (COMMIT, ("add", "size"), float("inf")),
]

COMMANDS: dict[str, Callable[[Standing], object]] = {
    "sync": Standing.sync,
    "retry": Standing.retry,
    "finalize": lambda standing: finalize_run(standing.output),
    "status": lambda standing: read_status(standing.output),
}


@pytest.mark.parametrize("reading", ["rows", "first generation", "retry", "sync"])
def test_a_parquet_file_of_an_output_whose_pages_are_damaged_is_refused_by_name(
    objects: dict[str, bytes], reading: str
):
    uris = [uri for uri in objects if uri.startswith(OUT) and uri.endswith(".parquet")]
    assert len(uris) > 8
    for uri in uris:
        standing = standing_on(objects | {uri: objects[uri][:4] + b"\xff" * 60 + objects[uri][64:]})
        readings: dict[str, Callable[[], object]] = {
            "rows": standing.rows,
            "first generation": partial(standing.rows, 1),
            "retry": standing.retry,
            "sync": standing.sync,
        }
        with refused_by_name():
            readings[reading]()


@pytest.mark.parametrize(("uri", "path", "value"), DAMAGE, ids=map(str, range(len(DAMAGE))))
@pytest.mark.parametrize("command", ["sync", "retry", "finalize", "status"])
def test_a_damaged_record_is_refused_by_name_or_changes_nothing(
    objects: dict[str, bytes], uri: str, path: tuple[str, ...], value: Any, command: str
):
    standing = standing_on(objects | {uri: with_value(objects[uri], path, value)})
    with refused_by_name():
        COMMANDS[command](standing)
        assert standing.rows() == standing_on(objects).rows()


@pytest.mark.parametrize("uri", [RUN, SECOND])
@pytest.mark.parametrize("command", ["sync", "retry", "finalize", "status"])
def test_a_billion_units_that_no_list_has_are_refused_and_never_counted(
    objects: dict[str, bytes], uri: str, command: str
):
    standing = standing_on(objects | {uri: with_value(objects[uri], ("units",), 10**9)})
    with pytest.raises(InvariantBroken, match=r"1000000000.*(replaced|changed): put it back"):
        COMMANDS[command](standing)


@pytest.mark.parametrize(("uri", "path", "value"), [
    (SUCCESS, ("persons",), 10**400), (SECOND, ("stale",), -4), (SECOND, ("images",), 2**63)
])  # fmt: skip
def test_counts_that_nothing_can_have_are_refused_by_name(
    objects: dict[str, bytes], uri: str, path: tuple[str, ...], value: int
):
    standing = standing_on(objects | {uri: with_value(objects[uri], path, value)})
    with pytest.raises(PosRefineError, match=f"{uri.rpartition('/')[2]}(?s:.)*{path[0]}"):
        read_status(standing.output)
