"""Workers are killed because memory ran out: a unit goes on in smaller pieces, or the run says why not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.annotation import annotate, is_free, require_whole_objects, some_images, table, write_images
from support.images import encode
from support.ray_cluster import started_cluster

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


def little_memory() -> Callable[[], None]:
    """Has loading workers killed as the kernel kills them: once they hold 200 MB more than at first.

    An image whose bytes name a file kills its worker for as long as that file is there. Pickled whole, hence
    the nesting.
    """

    def install() -> None:
        import os
        import signal
        import threading
        import time
        from pathlib import Path

        from pipeline.inputs import readers

        def resident_bytes() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def watch() -> None:
            first = resident_bytes()
            while True:
                time.sleep(0.002)
                title = Path("/proc/self/cmdline").read_text()
                if "load" in title and resident_bytes() > first + 200 * 10**6:
                    os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, daemon=True).start()
        decode = readers.decode_image

        def decode_or_die(data: bytes, **rules: object) -> object:
            if data.startswith(b"larger than memory ") and Path(data[19:].decode()).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(data, **rules)

        readers.decode_image = decode_or_die

    return install


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with started_cluster({}, hook=little_memory()) as address:
        yield address


@pytest.mark.slow
def test_a_unit_that_memory_cannot_hold_goes_on_in_smaller_pieces_by_itself(cluster: str, tmp_path: Path):
    picture = encode(np.full((2000, 2000, 3), 90, np.uint8))
    images = {f"{index:02d}.jpg": picture for index in range(24)}
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")

    # Decoded it is 288 MB, in one unit.
    assert annotate(given, output, "--unit-images", "128", "--no-decode-smaller") == 0

    assert table(output, "images")["status"].to_pylist() == ["ok"] * 24


@pytest.mark.slow
def test_an_image_that_memory_cannot_hold_ends_the_run_with_a_word_about_memory_and_no_blame(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    little = tmp_path / "memory is little"
    little.touch()
    images = some_images(8) | {"003.png": b"larger than memory " + str(little).encode()}
    given, output = write_images(tmp_path / "images", images), str(tmp_path / "out")
    began = time.monotonic()

    assert annotate(given, output) == 1

    print(f"after {time.monotonic() - began:.0f} s")
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("OutOfMemory (exit code 1): unit u00000001: ")
    assert "003.png" in said
    assert "memory ran out" in said
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["complete"]) == (1, False)
    assert "memory ran out" in outcome["message"]
    assert is_free(output)
    assert require_whole_objects(output) < len(images)

    little.unlink()
    assert annotate(given, output, "--unit-images", "1") == 0
    statuses = dict(
        zip(*table(output, "images").select(["image_key", "status"]).to_pydict().values(), strict=True)
    )
    assert statuses == dict.fromkeys(images, "ok") | {"003.png": "unsupported", "007.jpg": "unsupported"}
