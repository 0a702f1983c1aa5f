"""Annotated images with persons in them, and what a network found there."""

from __future__ import annotations

from typing import Any

import pytest
from support.annotated import annotated_people, results_of


@pytest.fixture
def annotations() -> dict[str, Any]:
    return annotated_people(40, seed=1)


@pytest.fixture
def results(annotations: dict[str, Any]) -> list[dict[str, Any]]:
    return results_of(annotations)
