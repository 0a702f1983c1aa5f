"""Names and values of a YAML file, within bounds: such a file may be anybody's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from posrefine.errors import ConfigurationError

__all__ = ["read_yaml"]

_LONGEST_BYTES = 2**20
_DEEPEST = 8
# What PyYAML lets out over dates that do not exist, numbers of thousands of digits, and values that are none
# of what their own tag says (`!!int ""`, `!!bool x`).
_NO_VALUE = (ValueError, OverflowError, LookupError, AttributeError, TypeError)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The names and values of a YAML file.

    Raises:
        ConfigurationError: the file cannot be read, or holds anything but a mapping of different names to
            values; or it is longer, or nested deeper, than settings are, or has aliases, which can make a few
            lines stand for more than memory holds.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"settings file {path}: cannot be read ({error.strerror}); correct --config"
        ) from error
    if len(data) > _LONGEST_BYTES:
        raise ConfigurationError(f"settings file {path}: over {_LONGEST_BYTES:,} bytes; correct --config")
    try:
        _require_bounds(data, path)
        content = yaml.safe_load(data)
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ConfigurationError(f"settings file {path}: no YAML ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigurationError(
            f"settings file {path}: holds a {type(content).__name__}; wanted a mapping of names to values"
        )
    return content


def _require_bounds(data: bytes, path: str | os.PathLike[str]) -> None:
    """Goes over the file's events, which are not yet built into anything."""
    depth, names, is_name = 0, set[str](), True
    for event in yaml.parse(data, Loader=yaml.SafeLoader):
        where = f"settings file {path}{event.start_mark}"
        if isinstance(event, yaml.AliasEvent):
            raise ConfigurationError(f"{where}: has the alias *{event.anchor}; write the value out")
        if depth == 1 and not isinstance(event, yaml.CollectionEndEvent):
            if is_name and isinstance(event, yaml.ScalarEvent):
                if event.value in names:
                    raise ConfigurationError(f"{where}: {event.value} stands there twice; keep one of them")
                names.add(event.value)
            is_name = not is_name
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise ConfigurationError(f"{where}: nested deeper than {_DEEPEST} levels; no setting is")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
