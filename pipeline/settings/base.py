"""What all settings have in common. These modules import neither Torch nor Ray: `--help` needs them all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "LARGEST_NUMBER",
    "Device",
    "Floats",
    "Seed",
    "Settings",
    "Skeleton",
    "Texts",
    "groups_of",
    "one_or_more",
    "public_name",
]

LARGEST_NUMBER = 2**53
"""Up to it every reader of JSON has whole numbers as they were written."""


def one_or_more(value: object) -> object:
    """Parts of a text between its commas, a number alone as the only one, None as none; all else as it is."""
    if value is None:
        return ()
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int | float) else value


Floats = Annotated[tuple[float, ...], BeforeValidator(one_or_more)]
"""Numbers; as text with commas between them."""
Texts = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]
"""Texts; with commas between them, on the command line also one behind the other."""
Seed = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
"""Of whatever is drawn at random; Torch, NumPy and the records of outputs take all of them."""
Device = Literal["auto", "cpu", "cuda"]
"""`auto` takes a GPU where there is one; the same in every job."""
Skeleton = Literal["coco", "crowdpose"]


class Settings(BaseModel):
    """Settings file."""

    # "nan" is above no bound and below none, and "inf" is no number of anything that is set here.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    config: Path | None = Field(None, description="YAML file of settings; names as here, with underscores")


def groups_of(kind: type[Settings]) -> list[tuple[str, list[str]]]:
    """Headings and field names of a job's settings, in the order of `--help`.

    Each class that a settings class is made of is a group, and the first line of its docstring the heading.
    """
    groups = []
    for group in reversed(kind.__mro__):
        names = [name for name in vars(group).get("__annotations__", {}) if name in kind.model_fields]
        if names and issubclass(group, BaseModel):
            groups.append((str(group.__doc__).splitlines()[0].rstrip("."), names))
    # The file that settings may lie in is what people ask for last.
    return [*groups[1:], groups[0]]


def public_name(kind: type[Settings], field: str) -> str:
    """The name of a field for users, in YAML files and, with dashes, on the command line."""
    return kind.model_fields[field].alias or field
