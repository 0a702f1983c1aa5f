"""The annotate job in a process that kills itself, as hard as the kernel can, at a named moment.

    python dying_driver.py WHEN run --input ... --output ...

WHEN is `never`; `before:PATTERN` or `after:PATTERN`, around the first write of an object whose address
fits the regular expression; or `receipt:N`, when the driver hears of the Nth finished unit.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.annotate import main
from pipeline.receipt import Receipt
from pipeline.storage import Storage
from pipeline.telemetry import Telemetry


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _around(write: Callable[..., None], moment: str, pattern: str) -> Callable[..., None]:
    def deadly(storage: Storage, uri: str, *data: Any) -> None:
        fits = re.search(pattern, uri) is not None
        if fits and moment == "before":
            _die()
        write(storage, uri, *data)
        if fits and moment == "after":
            _die()

    return deadly


def _arm(when: str) -> None:
    moment, _, what = when.partition(":")
    if moment in ("before", "after"):
        for name in ("put", "put_file", "create"):
            setattr(Storage, name, _around(getattr(Storage, name), moment, what))
    elif moment == "receipt":
        receive = Telemetry.receive
        heard: list[Receipt] = []

        def deadly(telemetry: Telemetry, receipt: Receipt) -> None:
            heard.append(receipt)
            if len(heard) == int(what):
                _die()
            receive(telemetry, receipt)

        Telemetry.receive = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    _arm(sys.argv[1])
    code = main(sys.argv[2:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
