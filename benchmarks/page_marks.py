"""Renewing the part of a page that a script writes, between two marks."""

from __future__ import annotations

__all__ = ["renewed"]


def renewed(page: str, start: str, end: str, text: str) -> str:
    """The page with `text` between the two marks, which are in it once each, in this order."""
    before, rest = page.split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"
