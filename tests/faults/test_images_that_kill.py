"""Images whose decoder crashes its process or never comes back: each costs its own row, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.annotation import annotate, some_images, table, write_images
from support.ray_cluster import started_cluster

from jobs.annotate import main
from pipeline.driver import drive

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

CRASHES, EXITS, HANGS = b"crash", b"exit", b"hang"


def bad_decoders() -> Callable[[], None]:
    """Has workers really die of one image and really hang in another; pickled whole, hence the nesting."""

    def install() -> None:
        import ctypes
        import time

        from pipeline.inputs import readers

        decode = readers.decode_image

        def decode_or_die(data: bytes, **rules: object) -> object:
            if data.startswith(b"crash"):
                ctypes.string_at(0)
            if data == b"exit":
                ctypes.CDLL(None)._exit(3)
            if data == b"hang":
                time.sleep(3600)
            return decode(data, **rules)

        readers.decode_image = decode_or_die

    return install


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with started_cluster({}, hook=bad_decoders()) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["load", "inference"])
def test_decoders_that_crash_and_one_that_hangs_cost_one_row_each_also_in_neighbouring_units(
    cluster: str, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
):
    """In inference the units share one process, two at a time."""
    if stage == "inference":  # as for units whose images would fill the memory
        read_options = drive.read_options
        monkeypatch.setattr(drive, "read_options", lambda *a: replace(read_options(*a), decoded_bytes=-1))
    killers = ("001.png", "004.png", "006.png")
    images = some_images(11) | dict.fromkeys(killers, CRASHES) | {"008.png": HANGS}
    if stage == "load":  # without a word
        images["006.png"] = EXITS
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")

    assert annotate(given, output, "--image-timeout-s", "5", "--unit-images", "4") == 0

    rows = {row["image_key"]: row for row in table(output, "images").to_pylist()}
    assert {key: row["status"] for key, row in rows.items()} == {
        **dict.fromkeys(images, "ok"),
        **dict.fromkeys(killers, "worker_died"),
        "008.png": "timeout",
        "010.jpg": "unsupported",
    }
    for killer in killers:
        wanted = "killed its worker" if images[killer] == CRASHES else "ends its process, also alone"
        assert wanted in rows[killer]["error"]
    assert "longer than 5 s" in rows["008.png"]["error"]
    assert all(rows[key]["sha256"] for key in images)


@pytest.mark.slow
def test_images_that_kill_are_tried_again_with_the_same_guards(cluster: str, tmp_path: Path):
    images = some_images(7) | {"001.png": CRASHES, "004.png": HANGS}
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")
    for name in ("001.png", "004.png"):
        Path(given, name).write_bytes(b"words")
    assert annotate(given, output, "--image-timeout-s", "5", "--unit-images", "4") == 0
    for name in ("001.png", "004.png"):
        Path(given, name).write_bytes(images[name])

    assert main(["retry-failed", "--output", output]) == 0

    rows = {row["image_key"]: row["status"] for row in table(output, "images").to_pylist()}
    assert rows == dict.fromkeys(images, "ok") | {
        "001.png": "worker_died",
        "004.png": "timeout",
        "006.jpg": "unsupported",
    }
