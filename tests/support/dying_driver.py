"""The annotate job in a process that kills or stops itself, as hard as the kernel can, at a named moment.

    python dying_driver.py WHEN run --input ... --output ...
    python dying_driver.py WHEN review import ... --output ...

After the word `review` it is the review job.

WHEN is `never`; `before:PATTERN` or `after:PATTERN`, around the first write of an object whose address
fits the regular expression; `deleted:PATTERN`, after it removed the first such object; or `receipt:N`, when
the driver hears of the Nth finished unit. With `stop-before:` and `stop-after:` the process is stopped
instead, until somebody continues it.
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

from jobs import annotate, review
from pipeline.driver.telemetry import Telemetry
from pipeline.stages.receipt import Receipt
from pipeline.storage import Storage


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    """Waits for whoever continues this process, and goes on as if nothing had been."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _around(
    write: Callable[..., Any], moment: str, pattern: str, strike: Callable[[], None]
) -> Callable[..., Any]:
    struck: list[str] = []

    def deadly(storage: Storage, uri: str, *data: Any) -> Any:
        fits = re.search(pattern, uri) is not None and not struck
        if fits and moment == "before":
            struck.append(uri)
            strike()
        done = write(storage, uri, *data)
        if fits and moment == "after":
            struck.append(uri)
            strike()
        return done

    return deadly


def arm(when: str) -> None:
    moment, _, what = when.partition(":")
    strike = _stop if moment.startswith("stop-") else _die
    moment = moment.removeprefix("stop-")
    if moment in ("before", "after"):
        for name in ("put", "put_file", "create", "create_file", "replace"):
            setattr(Storage, name, _around(getattr(Storage, name), moment, what, strike))
    elif moment == "deleted":
        setattr(Storage, "delete", _around(Storage.delete, "after", what, strike))  # noqa: B010
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
    arm(sys.argv[1])
    given = sys.argv[2:]
    code = review.main(given[1:]) if given[0] == "review" else annotate.main(given)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
