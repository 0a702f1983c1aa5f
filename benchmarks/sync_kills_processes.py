"""Processes of a campaign of kills: syncs that kill themselves, and a reader that reads for ever.

Everything is the real thing but the network, which costs nothing. Without Ray the units are annotated in the
syncing process itself; on Ray the stages are the real ones, and who is killed is the driver.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.rows import some_poses
from support.standing import Standing, persons_in

from pipeline.driver.sync import sync
from pipeline.driver.telemetry import Telemetry
from pipeline.output.record import NetworkIdentity
from pipeline.output.run_output import RunOutput
from pipeline.settings.sync import SyncSettings
from pipeline.storage import Storage
from posrefine.inference.fast.prepare import Preparation
from posrefine.poses import Poses

__all__ = ["PHASES", "Attempt", "persons_of", "run_attempt", "watch"]

PHASES = (
    *("planning", "units", "files of the tables", "log of images", "log of persons", "the switch"),
    *("files kept for older generations", "cleaning", "outcome"),
)

_DELETED = "?deleted"


@dataclass(frozen=True)
class Attempt:
    """One process that syncs.

    Attributes:
        given: address of the input.
        output: likewise.
        network: number of the network; the output's own.
        replaces: whether the next network is to take its place.
        kill_at: number of the write around which it dies; 0 for none.
        among: the phase whose writes are counted; empty for all.
        after: whether it dies after the write.
        note: the file that it writes the phase to before it dies.
        log: what it says is appended to it.
        address: of the Ray cluster; None for none.
    """

    given: str
    output: str
    network: int
    replaces: bool
    kill_at: int
    among: str
    after: bool
    note: str
    log: str
    address: str | None


def persons_of(data: bytes, network: int, *, on_ray: bool) -> int:
    """That the network of that number finds in an image file."""
    if not on_ray:
        return persons_in(data, network)
    return _persons_by_colour(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), network)


def _persons_by_colour(pixels: NDArray[np.uint8], network: int) -> int:
    return (int(pixels[0, 0, 0]) + int(pixels[0, 0, 1]) + network) % 3


@dataclass
class ColourPredictor:
    """What Ray's actors have in place of a network: an image's colour says how many persons are in it."""

    number: int
    preparation = Preparation("cpu", "float32", "no", "nothing", graphs=False, seconds=0.0)  # type: ignore[arg-type]

    def plan(self, size: tuple[int, int]) -> None:
        """Everything fits."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        return [some_poses(_persons_by_colour(pixels, self.number), int(pixels.sum())) for pixels in images]


class ColourNetwork:
    """Takes the place of `Network`."""

    note = "a campaign of kills: the poses mean nothing"

    def __init__(self, number: int) -> None:
        self.number = number
        self.identity = NetworkIdentity(f"{number:064d}", None, "official", 64)

    def predictor(self, settings: Any, device: str) -> ColourPredictor:
        """Of any settings."""
        return ColourPredictor(self.number)


def run_attempt(attempt: Attempt) -> None:
    """Sync, in a process of its own, which ends with 0 where it came through."""
    file = os.open(attempt.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    _arm(attempt)
    try:
        code = _sync_without_ray(attempt) if attempt.address is None else _sync_on_ray(attempt)
    except BaseException:  # noqa: BLE001 - the end of the process
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _sync_without_ray(attempt: Attempt) -> int:
    standing = Standing(Storage(), attempt.given, attempt.output, network=attempt.network)
    outcome = standing.replace(attempt.network + 1) if attempt.replaces else standing.sync()
    return int(outcome.exit_code)


def _sync_on_ray(attempt: Attempt) -> int:
    assert attempt.address is not None
    os.environ["RAY_ADDRESS"] = attempt.address
    number = attempt.network + attempt.replaces
    settings = SyncSettings(
        input=attempt.given,
        output=attempt.output,
        model="colours",
        weights=f"colours{number}",
        precision="float32",
        unit_images=2,
        table_units=2,
        max_error_rate=1.0,
        replaced_grace_s=0,
        accept_empty=True,
        replace=attempt.replaces,
    )
    return int(sync(settings, lambda given, storage: ColourNetwork(number)).exit_code)  # type: ignore[arg-type, return-value]


def _arm(attempt: Attempt) -> None:
    """Have this process kill itself around its write of that number."""
    left = attempt.kill_at

    def dying(uri: str, write: Any) -> Any:
        nonlocal left
        kind = _phase(uri, attempt.output)
        left -= attempt.among in ("", kind)
        # Counting goes on below 0 in a process that was spared.
        if left == 0 and attempt.among in ("", kind):
            Path(attempt.note).write_text(kind)
            if attempt.after:
                write()
            os.kill(os.getpid(), signal.SIGKILL)
        return write()

    def around(name: str, suffix: str = "") -> None:
        plain = getattr(Storage, name)
        setattr(
            Storage,
            name,
            lambda storage, uri, *data: dying(f"{uri}{suffix}", lambda: plain(storage, uri, *data)),
        )

    for name in ("put", "create", "create_file", "replace"):
        around(name)
    around("delete", _DELETED)
    receive = Telemetry.receive
    # On Ray other processes write the units: the driver dies when it hears of one.
    Telemetry.receive = lambda telemetry, receipt: dying(  # type: ignore[assignment, method-assign]
        f"{attempt.output}/units/{receipt.unit_id}", lambda: receive(telemetry, receipt)
    )


def _phase(uri: str, output: str) -> str:
    """What a write belongs to, in words."""
    path = uri.removeprefix(output).lstrip("/")
    if path.endswith(_DELETED) and "lock" not in path:
        return "cleaning"
    beside = "replacing: " if path.startswith("networks/") else ""
    path = path.split("/", 2)[2] if beside else path
    for words, mark in (
        ("lock", "lock.json"),
        ("log of images", "images/_delta_log"),
        ("log of persons", "persons/_delta_log"),
        ("files kept for older generations", "_replaced"),
        ("the switch", "_SUCCESS"),
        ("files of the tables", "tables/"),
        ("units", "units/"),
        ("outcome", "outcome"),
    ):
        if mark in path:
            return beside + words
    return beside + "planning"


def watch(output: str, states: Path, seen: Path) -> None:
    """Read the tables for ever; each reading that is none of the states in a file is told in another one."""
    from deltalake import DeltaTable

    readings, mixed = Counter[str](), Counter[str]()
    access = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    options = access | {"AWS_ALLOW_HTTP": "true"} if output.startswith("s3://") else None
    while True:
        before = json.loads(states.read_text())
        for name in ("images", "persons", "pair"):
            try:
                if name == "pair":
                    images = RunOutput.at(output, Storage()).rows().images()
                    found = sorted((image.uri, len(image.poses or ())) for image in images)
                else:
                    table = DeltaTable(f"{output}/tables/{name}", storage_options=options)
                    rows = table.to_pyarrow_table(columns=["uri"])
                    found = sorted(Counter(rows["uri"].to_pylist()).items())
            except Exception as error:  # noqa: BLE001
                # The grace time of this campaign is none: what was replaced may be gone while it is read.
                readings[f"{name}: {type(error).__name__}"] += 1
                continue
            after = json.loads(states.read_text())
            readings[name] += 1
            mixed[name] += not any(_as_read(state, name) == found for state in before + after)
        seen.with_suffix(".new").write_text(json.dumps({"readings": readings, "mixed": mixed}))
        seen.with_suffix(".new").rename(seen)
        time.sleep(0.05)


def _as_read(state: list[list[Any]], name: str) -> list[tuple[str, int]]:
    if name == "images":
        return [(uri, 1) for uri, _ in state]
    return [(uri, persons) for uri, persons in state if persons or name == "pair"]
