"""The settings as command-line options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import SETTING_GROUPS

__all__ = ["add_settings", "settings_given"]


def add_settings(parser: argparse.ArgumentParser, groups: Sequence[type[BaseModel]] = SETTING_GROUPS) -> None:
    """Add an option for every setting, under the headings of their groups.

    Values stay text here: the settings themselves check them, wherever they come from.
    """
    for group in groups:
        section = parser.add_argument_group(str(group.__doc__).rstrip("."))
        for name, setting in group.model_fields.items():
            section.add_argument(f"--{name.replace('_', '-')}", **_option(setting))


def settings_given(
    arguments: argparse.Namespace, groups: Sequence[type[BaseModel]] = SETTING_GROUPS
) -> dict[str, Any]:
    """The settings that the command line gave, by name."""
    names = {name for group in groups for name in group.model_fields}
    return {name: value for name, value in vars(arguments).items() if name in names}


def _option(setting: FieldInfo) -> dict[str, Any]:
    option: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(setting)}
    kind = _kind(setting)
    if kind is bool:
        return option | {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return option | {"choices": get_args(kind)}
    return option | {"metavar": _METAVARS.get(kind, "TEXT")}


_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "FILE", tuple[float, ...]: "X,X"}


def _kind(setting: FieldInfo) -> Any:  # noqa: ANN401 - a type or a special form
    """The setting's type without `None`."""
    if get_origin(setting.annotation) not in (Union, UnionType):
        return setting.annotation
    return next(kind for kind in get_args(setting.annotation) if kind is not NoneType)


def _help(setting: FieldInfo) -> str:
    text = str(setting.description)
    if setting.is_required():
        text += " (required)"
    elif setting.default is not None:
        default = setting.default
        shown = ",".join(f"{value:g}" for value in default) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    return text.replace("%", "%%")
