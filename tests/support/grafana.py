"""Grafana's own model of a dashboard, from its SDK."""

from __future__ import annotations

import json
import warnings
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder

with warnings.catch_warnings():
    # The classic form is what files and ConfigMaps are provisioned in, whatever the SDK prefers.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

__all__ = ["through_grafanas_model"]


def through_grafanas_model(dashboard: dict[str, Any]) -> dict[str, Any]:
    """The dashboard as Grafana's model holds it: without the fields that it does not know."""
    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
