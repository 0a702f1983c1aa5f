"""Images whose decoder crashes its process or never comes back: each costs its own row, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.annotation import annotate, some_images, table, write_images
from support.ray_cluster import started_cluster

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

CRASHES, HANGS = b"crash", b"hang"


def bad_decoders() -> Callable[[], None]:
    """Has workers really die of one image and really hang in another; pickled whole, hence the nesting."""

    def install() -> None:
        import ctypes
        import time

        from pipeline import readers

        decode = readers.decode_image

        def decode_or_die(data: bytes, **rules: object) -> object:
            if data == b"crash":
                ctypes.string_at(0)
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
def test_a_decoder_that_crashes_and_one_that_hangs_cost_one_row_each(cluster: str, tmp_path: Path):
    images = some_images(7) | {"001.png": CRASHES, "004.png": HANGS}
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")

    assert annotate(given, output, "--image-timeout-s", "5", "--unit-images", "4") == 0

    rows = {row["image_key"]: row for row in table(output, "images").to_pylist()}
    assert {key: row["status"] for key, row in rows.items()} == {
        **dict.fromkeys(images, "ok"),
        "001.png": "worker_died",
        "004.png": "timeout",
        "006.jpg": "unsupported",
    }
    assert "killed its worker" in rows["001.png"]["error"]
    assert "longer than 5 s" in rows["004.png"]["error"]
    assert all(rows[key]["sha256"] for key in images)
