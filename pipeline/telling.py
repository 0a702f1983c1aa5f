"""Telling those who watch. Losing what they are told must not change how a job ends.

Whatever is wrong with the address or with what answers there is a warning, and nobody is waited for longer
than a few seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import HTTPError

from posrefine.redaction import redacted

__all__ = ["TIMEOUT_S", "told"]

TIMEOUT_S = 10.0
"""For all of one message. Sockets' own limits begin anew with each byte of an answer."""

logger = logging.getLogger(__name__)


def told(lost: str, address: str, send: Callable[[], object], within_s: float = TIMEOUT_S) -> None:
    """Call `send`, for as long as that is worth it.

    Args:
        lost: what is to be said where it fails, as in `metrics were not pushed`.
        address: where it sends to.
        send: raises what the network, or an address that is none, makes of it.
        within_s: after so many seconds it is left to itself.
    """
    failures: list[Exception] = []

    def try_it() -> None:
        try:
            send()
        # An address that is none is a ValueError, or an InvalidURL among the HTTPExceptions.
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, HTTPError):
                error.close()
            failures.append(error)

    thread = threading.Thread(target=try_it, daemon=True, name="telling")
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        logger.warning("%s to %s: no whole answer within %g s", lost, redacted(address), within_s)
    elif failures:
        error = failures[0]
        # Such errors quote the part of the address that they do not understand, which may be a password.
        said = str(error) if isinstance(error, OSError) else type(error).__name__
        logger.warning("%s to %s: %s", lost, redacted(address), redacted(said))
