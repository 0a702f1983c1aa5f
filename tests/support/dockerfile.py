"""A Dockerfile, read: its instructions in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Instruction", "instructions"]


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: in capitals.
        text: what follows the name, with continued lines joined and comments left out.
    """

    name: str
    text: str


def instructions(path: Path) -> list[Instruction]:
    """All instructions, from the first on."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        Instruction(name, text)
        for line in joined.splitlines()
        if line.strip()
        for name, _, text in [line.partition(" ")]
    ]
