"""The page itself: templates, which are package data, and how numbers are written in them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posrefine.errors import ConfigurationError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_page", "require_templates"]

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str = "page", **content: Any) -> bytes:  # noqa: ANN401 - what a template takes
    """The page as UTF-8 HTML; everything that is not our own markup is escaped.

    Args:
        template: name of the page's template.
        content: that it shows.

    Raises:
        ConfigurationError: jinja2 is not installed.
    """
    environment = _environment()
    style = (_TEMPLATES / "style.css").read_text()
    return environment.get_template(f"{template}.html.j2").render(style=style, **content).encode()


def require_templates() -> None:
    """Raise ConfigurationError where jinja2 is not installed: better before a long evaluation than after."""
    _environment()


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ConfigurationError(
            "the report needs jinja2, which is not installed: pip install jinja2"
        ) from error
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "percent": _percent,
        "thousands": _thousands,
        "moment": _moment,
        "words": _words,
    }
    return environment


def _score(value: float) -> str:
    """As the benchmarks print it; a dash where there was nobody to be found."""
    return "–" if value < 0 else f"{value:.3f}"


def _percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f}%"


def _thousands(value: int) -> str:
    return f"{value:,}"


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _words(name: str) -> str:
    """A name of code as the beginning of a sentence."""
    spaced = name.replace("_", " ")
    return spaced[:1].upper() + spaced[1:]
