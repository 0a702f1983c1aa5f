"""The numbers of runs and syncs for a Pushgateway. Losing them must not change how these end."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, push_to_gateway, pushadd_to_gateway

from pipeline.storage.uris import normalise_uri
from pipeline.telling import TIMEOUT_S, told
from posrefine.redaction import redacted

__all__ = ["push"]


def push(
    registry: CollectorRegistry, gateway: str | None, job: str, output: str, *, keep: bool = False
) -> None:
    """Push the numbers of a registry to a Pushgateway, grouped under an output.

    Args:
        registry: with the numbers.
        gateway: its URL; None pushes nothing.
        job: name of the group, with the output.
        output: of the run.
        keep: whether numbers of the group that are not in the registry stay.
    """
    if gateway is None:
        return
    by, to = pushadd_to_gateway if keep else push_to_gateway, gateway
    group = {"run": redacted(normalise_uri(output))}
    told(
        "metrics were not pushed",
        gateway,
        lambda: by(to, job=job, registry=registry, grouping_key=group, timeout=TIMEOUT_S),
    )
