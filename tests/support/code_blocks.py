"""The code blocks of README, docs and what infra/ has to read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "CodeBlock", "code_blocks"]

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "infra").rglob("*.md")),
)


@dataclass(frozen=True)
class CodeBlock:
    """A block between two lines of three backticks.

    Attributes:
        page: path below the repository.
        language: as its first line names it; empty where it does not.
        text: what stands in it.
    """

    page: str
    language: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        """The words of each command of a shell, without comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def code_blocks() -> list[CodeBlock]:
    """Of all pages, in order."""
    return [
        CodeBlock(page, found[1], found[2])
        for page in PAGES
        for found in re.finditer(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    ]
