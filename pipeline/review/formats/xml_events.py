"""Foreign XML as a stream of elements: no entities, no document types, nothing that grows with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

from pipeline.review.formats.checks import Place

__all__ = ["Element", "iter_elements"]

_PIECE_BYTES = 2**20
_MOST_BYTES_UNFINISHED = 4 * 2**20
_MOST_TEXT_CHARS = 2**20
_DEEPEST = 32


@dataclass
class Element:
    """An element whose start, or whose end, has just been read.

    Attributes:
        tag: its name.
        attributes: of it.
        path: the names of those that it lies in, the outermost first.
        line: of the start.
        text: directly within it; whole at its end.
        ends: whether this is the end.
    """

    tag: str
    attributes: dict[str, str]
    path: tuple[str, ...]
    line: int
    text: str = ""
    ends: bool = False


@dataclass
class _Reading:
    place: Place
    parser: expat.XMLParserType
    stack: list[Element] = field(default_factory=list)
    ready: list[Element] = field(default_factory=list)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.stack) >= _DEEPEST:
            raise self.refusal(f"elements lie in more than {_DEEPEST} others")
        path = tuple(element.tag for element in self.stack)
        self.stack.append(Element(tag, attributes, path, self.parser.CurrentLineNumber))
        self.ready.append(self.stack[-1])

    def end(self, _tag: str) -> None:
        begun = self.stack.pop()
        self.ready.append(Element(begun.tag, begun.attributes, begun.path, begun.line, begun.text, ends=True))

    def text(self, text: str) -> None:
        element = self.stack[-1]
        element.text += text
        if len(element.text) > _MOST_TEXT_CHARS:
            raise self.refusal(f"<{element.tag}> holds more than {_MOST_TEXT_CHARS} characters")

    def refuse_declarations(self, *_: object) -> None:
        raise self.refusal("declares a document type or entities, which no export of a tool does")

    def refusal(self, what: str) -> Exception:
        return self.place.at(f"line {self.parser.CurrentLineNumber}").refusal(what)


def iter_elements(file: IO[bytes], place: Place) -> Iterator[Element]:
    """Every element of an XML file, at its start and at its end, in the file's order.

    Memory holds a piece of the file and the elements that are open.

    Raises:
        ConfigurationError: it is no XML, is cut off, declares entities, or nests or holds more than any
            tool's export.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    reading = _Reading(place, parser)
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = reading.refuse_declarations
    read = _fed(parser, reading)
    while True:
        piece = file.read(_PIECE_BYTES)
        read(piece)
        yield from reading.ready
        reading.ready.clear()
        if not piece:
            return


def _fed(parser: expat.XMLParserType, reading: _Reading) -> Callable[[bytes], None]:
    fed_bytes = 0

    def feed(piece: bytes) -> None:
        nonlocal fed_bytes
        fed_bytes += len(piece)
        try:
            parser.Parse(piece, not piece)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise reading.place.at(f"line {error.lineno}").refusal(f"no XML: {what}") from error
        if fed_bytes - parser.CurrentByteIndex > _MOST_BYTES_UNFINISHED:
            raise reading.refusal(f"an element of more than {_MOST_BYTES_UNFINISHED} bytes")

    return feed
