"""The one way in which settings of any job are found: command line > environment > YAML file > defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.settings.base import Settings, public_name
from pipeline.settings.environment import PREFIX, check_environment, closest, find_settings
from pipeline.settings.yaml_file import read_yaml
from posrefine.errors import ConfigurationError
from posrefine.redaction import holds_credentials, redacted

__all__ = ["load_settings", "refuse_credentials", "settings_from"]

Kind = TypeVar("Kind", bound=Settings)

_AROUND = " \t\r\n\"'"
"""What may stand around an address by mistake."""


def load_settings(
    kind: type[Kind], command_line: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Kind:
    """The settings of a job from all sources.

    Args:
        kind: the job's settings.
        command_line: values by setting name, as strings or as their own types; only those that were given.
        environment: variables by name.

    Raises:
        ConfigurationError: unknown or missing settings, values that will not do, all of them listed; or an
            address with credentials in it.
    """
    check_environment(kind, environment)
    given = {**find_settings(kind, environment), **command_line}
    config = given.get("config")
    return settings_from(kind, given if config is None else read_yaml(config) | given)


def settings_from(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """The settings with these values and no others; errors as `load_settings` has them."""
    refuse_credentials(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A value of several parts is one problem, whatever its parts say.
        lines = {_name_of(problem): _readable(problem, kind) for problem in reversed(problems)}
        raise ConfigurationError("\n".join(reversed(lines.values()))) from None


def refuse_credentials(values: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` where a value is an address with credentials, without repeating them."""
    for name, value in values.items():
        if any(holds_credentials(text.strip(_AROUND)) for text in _texts(value)):
            raise ConfigurationError(
                f"setting {name}: holds credentials before an '@'; give them by the environment instead (a "
                "local file of such a name is ./NAME)"
            )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        # Whole, too: a password may have a comma in it.
        yield value
        yield from value.split(",")
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _name_of(problem: ErrorDetails) -> str:
    return str(problem["loc"][0]) if problem["loc"] else ""


def _readable(problem: ErrorDetails, kind: type[Settings]) -> str:
    name = _name_of(problem)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        meant = closest(name, [public_name(kind, field) for field in kind.model_fields])
        return f"setting {name}: no such setting" + (f" (did you mean {meant}?)" if meant else "")
    if problem["type"] == "missing":
        flag = "--" + name.replace("_", "-")
        return f"setting {name}: missing; give {flag}, {PREFIX}{name.upper()} or `{name}:` in the YAML file"
    if not name:
        return f"settings: {message}"
    return redacted(f"setting {name}: {problem['input']!r} will not do: {message}")
