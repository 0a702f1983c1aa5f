"""Settings as command-line options."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.settings.base import Settings, groups_of, public_name

__all__ = ["add_settings", "default_of", "kind_of", "settings_given"]


def add_settings(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """Add an option for every setting, under the headings of their groups.

    Values stay text here: the settings themselves check them, wherever they come from.
    """
    for heading, names in groups_of(kind):
        section = parser.add_argument_group(heading)
        for field in names:
            name = public_name(kind, field)
            option = _option(kind.model_fields[field])
            section.add_argument(f"--{name.replace('_', '-')}", dest=name, **option)


def settings_given(arguments: argparse.Namespace, kind: type[Settings]) -> dict[str, Any]:
    """The settings that the command line gave, by name; texts one behind the other with commas between."""
    names = {public_name(kind, field) for field in kind.model_fields}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in given.items()}


def _option(setting: FieldInfo) -> dict[str, Any]:
    option: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(setting)}
    kind = kind_of(setting)
    if kind is bool:
        return option | {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return option | {"choices": get_args(kind)}
    if kind == tuple[str, ...]:
        return option | {"metavar": "TEXT", "nargs": "+"}
    return option | {"metavar": _METAVARS.get(kind, "TEXT")}


_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "FILE", tuple[float, ...]: "X,X"}


def kind_of(setting: FieldInfo) -> Any:  # noqa: ANN401 - a type or a special form
    """The setting's type without `None`."""
    if get_origin(setting.annotation) not in (Union, UnionType):
        return setting.annotation
    return next(kind for kind in get_args(setting.annotation) if kind is not NoneType)


def _help(setting: FieldInfo) -> str:
    text = str(setting.description)
    if setting.is_required():
        text += " (required)"
    elif default := default_of(setting):
        text += f" (default: {default})"
    return text.replace("%", "%%")


def default_of(setting: FieldInfo) -> str:
    """The value of a setting that nobody gave, as one writes it; empty where it is none, or off."""
    default = setting.default
    if setting.is_required() or default in (None, (), False):
        return ""
    return ",".join(map(_short, default)) if isinstance(default, tuple) else str(default)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
