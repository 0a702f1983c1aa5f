"""A page as its parts, for tests that look at what is on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input", "col"}


@dataclass(frozen=True)
class Element:
    """A start tag."""

    tag: str
    attributes: dict[str, str]


@dataclass
class Page:
    """Elements in order, the text, and tables as rows of cells."""

    elements: list[Element] = field(default_factory=list)
    text: str = ""
    rows: list[list[str]] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def parse_page(html: str) -> Page:
    """Parses strictly: a tag that is not closed, or closed in the wrong order, is an AssertionError."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert not parser.stack, f"never closed: {parser.stack}"
    return parser.page


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page, self.stack = Page(), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.page.rows.append([])
        if tag in ("td", "th"):
            self.page.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1] == tag, f"</{tag}> closes <{self.stack[-1]}> at line {self.getpos()[0]}"
        self.stack.pop()
        if tag in ("td", "th"):
            self.page.rows[-1][-1] = " ".join(self.page.rows[-1][-1].split())

    def handle_data(self, data: str) -> None:
        if "style" in self.stack or "title" in self.stack:
            return
        self.page.text += data
        if self.page.rows and ("td" in self.stack or "th" in self.stack):
            self.page.rows[-1][-1] += data
