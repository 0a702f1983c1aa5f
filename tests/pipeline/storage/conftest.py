"""The two kinds of stores, empty."""

from __future__ import annotations

import pytest

from pipeline.storage import Storage


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> str:
    """An empty folder of each kind of store."""
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path"))
    return request.getfixturevalue("s3_bucket").uri


@pytest.fixture
def storage() -> Storage:
    return Storage()
