"""How the bucket of an input is reached, where that is not how all others are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.storage import Storage
from pipeline.storage.uris import is_s3, normalise_uri, split_s3
from posrefine.errors import ConfigurationError

__all__ = ["reaching_input"]


def reaching_input(storage: Storage, settings: Mapping[str, Any]) -> Storage:
    """The storage that also reads the input as the settings `anonymous` and `requester_pays` say.

    They hold for the input's bucket alone: the output may lie in another one, with credentials.

    Raises:
        ConfigurationError: both are wanted; who pays must say who they are.
    """
    anonymous, pays = settings.get("anonymous", False), settings.get("requester_pays", False)
    if anonymous and pays:
        raise ConfigurationError(
            "anonymous and requester_pays exclude each other: whoever pays must give credentials; take one"
        )
    uri = normalise_uri(str(settings.get("input", "/")))
    if not (anonymous or pays) or not is_s3(uri):
        return storage
    bucket, _ = split_s3(uri)
    options = replace(
        storage.options,
        anonymous=(bucket,) if anonymous else (),
        requester_pays=(bucket,) if pays else (),
    )
    return replace(storage, options=options)
