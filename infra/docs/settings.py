"""The page of all settings, from their models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from infra.docs.commands import commands
from pipeline.settings.base import groups_of
from pipeline.settings.command_line import default_of, kind_of
from pipeline.settings.environment import PREFIX
from pipeline.settings.log import LogSettings

__all__ = ["settings_page"]

_HEAD = f"""# Settings

Every job finds its settings in the same places, the first of them that has one: the command line,
`--unit-images 64`; the environment, `{PREFIX}UNIT_IMAGES=64`; the YAML file that `--config` names,
`unit_images: 64`; its default. A switch such as `--flip` is turned off by `--no-flip`. Where several values
are possible there are commas between them. Unknown names are refused, with the one that was meant. Secrets
are no settings: object storage is reached through the AWS environment variables or chain.

Settings without a default below are found by the command itself, as their words say, or left out;
**required** ones have to be given.
"""


@dataclass(frozen=True)
class Group:
    """Settings that belong together, and the commands that take them."""

    heading: str
    fields: dict[str, FieldInfo]
    commands: list[str]


def settings_page() -> str:
    """Markdown: a table for each group of settings."""
    return "\n".join([_HEAD, *(line for group in groups() for line in _section(group))])


def groups() -> list[Group]:
    """Of all commands: groups with the same settings are one, whoever takes them."""
    found: dict[str, Group] = {}
    taken = [(command.name, command.kind) for command in commands() if command.kind and command.is_whole]
    for name, kind in [*taken, ("every command", LogSettings)]:
        for heading, names in groups_of(kind):
            fields = {kind.model_fields[field].alias or field: kind.model_fields[field] for field in names}
            key = heading + "".join(f"{field} {setting!r}" for field, setting in fields.items())
            found.setdefault(key, Group(heading, fields, [])).commands.append(name)
    return list(found.values())


def _section(group: Group) -> Iterator[str]:
    yield f"## {group.heading}\n"
    yield f"Of {', '.join(f'`{name}`' for name in dict.fromkeys(group.commands))}.\n"
    yield "| setting | values | default | what it is |"
    yield "|---|---|---|---|"
    for name, setting in group.fields.items():
        default = "**required**" if setting.is_required() else _code(_default(setting))
        words = re.sub(r"([*_<>|])", r"\\\1", str(setting.description))
        yield f"| `--{name.replace('_', '-')}` | {_values(setting)} | {default} | {words} |"
    yield ""


def _default(setting: FieldInfo) -> str:
    return "on" if setting.default is True else default_of(setting)


def _values(setting: FieldInfo) -> str:
    kind = kind_of(setting)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    return " ".join([_WORDS.get(kind, "text"), *_bounds(setting)])


_WORDS: dict[Any, str] = {
    bool: "switch",
    int: "whole number",
    float: "number",
    tuple[float, ...]: "numbers",
    tuple[str, ...]: "texts",
}


def _bounds(setting: FieldInfo) -> Iterator[str]:
    for bound in setting.metadata:
        match bound:
            case Ge():
                yield f"≥ {bound.ge}"
            case Gt():
                yield f"> {bound.gt}"
            case Le():
                yield f"≤ {bound.le}"
            case Lt():
                yield f"< {bound.lt}"
            case MinLen():
                yield f"at least {bound.min_length}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
