"""The page of errors: exit codes, what becomes of an image, and every message with what to do."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.exit_codes import ExitCode, exit_code_of
from posrefine import errors
from posrefine.errors import ImageError, ImageStatus, PosRefineError

__all__ = ["errors_page", "messages"]

ROOT = Path(__file__).resolve().parents[2]
_HEAD = """# Errors

A job says an error in one line on standard error, `NAME (exit code N): what, found, wanted, what to do`,
and ends with that code; `outcome.json` holds the same. Below are the codes, what stands in an image's row,
and all messages, each with what to do about it. `‹…›` stands for what is known only then.
"""
_CODES = {
    ExitCode.COMPLETE: ("complete", "nothing"),
    ExitCode.CRASH: ("an error that another try may get over, or a bug", "run the same command again"),
    ExitCode.BAD_CONFIGURATION: (
        "a setting or a file that was named is wrong",
        "correct it; a retry ends alike",
    ),
    ExitCode.OVER_ERROR_BUDGET: (
        "complete, but more images failed than `--max-error-rate` allows, or a shard was broken",
        "look at `status`; mend the cause, then `retry-failed`",
    ),
    ExitCode.DIFFERENT_RUN: (
        "the output belongs to a run with other settings",
        "take its settings or another output",
    ),
    ExitCode.LOCKED: ("another live run holds the output", "wait, or stop the other"),
    ExitCode.INTERRUPTED: ("SIGTERM or Ctrl-C", "run the same command again"),
}


def errors_page() -> str:
    """Markdown: codes, statuses of images, then each kind of error with its messages."""
    lines = [_HEAD, "## Exit codes\n", "| code | meaning | what to do |", "|---|---|---|"]
    lines += [f"| {code.value} | {meaning} | {todo} |" for code, (meaning, todo) in _CODES.items()]
    lines += [
        "",
        "## Statuses of images\n",
        "One bad image costs its own row, and never decides over others.\n",
    ]
    lines += ["| status | what it means, and what to do |", "|---|---|"]
    lines += [f"| `{status}` | {_status_words()[status]} |" for status in ImageStatus]
    said = messages()
    for kind in _kinds():
        lines += ["", f"## {kind.__name__}\n", *_words(kind)]
        rows = sorted(said.get(kind.__name__, ()))
        lines += ["", *(f"- {row}" for row in rows)]
    return "\n".join(lines) + "\n"


def messages() -> dict[str, set[str]]:
    """What the code says with each kind of error, Markdown, by its name."""
    found: dict[str, set[str]] = defaultdict(set)
    for room in ("posrefine", "pipeline", "jobs"):
        for path in (ROOT / room).rglob("*.py"):
            of_settings = "settings" in path.parts
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func).rpartition(".")[2]
                texts = [text for text in map(_template, node.args) if text is not None]
                if of_settings and name == "ValueError" and texts:
                    found["ConfigurationError"].add(f"setting {_HOLE}: {_HOLE} will not do: {texts[0]}")
                elif name in errors.__all__ and texts:
                    status = next(
                        (a for a in map(ast.unparse, node.args) if a.startswith("ImageStatus.")), ""
                    )
                    before = f"`{status.partition('.')[2].lower()}`: " if status else ""
                    found[name].add(before + texts[0].strip())
    return found


_HOLE = "‹…›"


def _template(node: ast.expr) -> str | None:
    """A text with holes where values stand, as Markdown; None of what is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return _escaped(text)
        case ast.JoinedStr(values=parts):
            text = "".join(p.value if isinstance(p, ast.Constant) else _hole(p) for p in parts)  # type: ignore[misc]
            return _escaped(text)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = [_template(left), _template(right)]
            return "".join(t or _HOLE for t in texts) if any(texts) else None
        case ast.IfExp(body=body):
            return _template(body)
    return None


def _hole(part: ast.expr) -> str:
    """Called what the code calls the value, where that is a word."""
    value = part.value if isinstance(part, ast.FormattedValue) else part
    name = ast.unparse(value).rpartition(".")[2]
    return f"‹{name.strip('_').replace('_', ' ')}›" if re.fullmatch(r"\w+", name) else _HOLE


def _escaped(text: str) -> str:
    one_line = re.sub(r"\s+", " ", text)
    return re.sub(r"([*_<>\[\]|])", r"\\\1", one_line) if "`" not in one_line else one_line


def _kinds() -> list[type[PosRefineError]]:
    kinds = [getattr(errors, name) for name in errors.__all__]
    kinds = [k for k in kinds if issubclass(k, PosRefineError) and k is not PosRefineError]
    return sorted(kinds, key=lambda kind: (_code_of(kind), kind.__name__))


def _code_of(kind: type[PosRefineError]) -> ExitCode:
    made = kind.__new__(kind)
    return exit_code_of(made)


def _words(kind: type[PosRefineError]) -> Iterator[str]:
    what, _, todo = inspect.cleandoc(str(kind.__doc__)).partition("\n\n")
    if kind is ImageError:
        yield "One image cannot be used: a row with the status that stands before the message, no job's end."
        return
    what, todo = " ".join(what.split()), " ".join(todo.split())
    yield f"**{what}** {todo} Where it ends a job, the exit code is {_code_of(kind).value}."


def _status_words() -> dict[ImageStatus, str]:
    (definition,) = (
        node
        for node in ast.parse(inspect.getsource(errors)).body
        if isinstance(node, ast.ClassDef) and node.name == "ImageStatus"
    )
    words: dict[ImageStatus, str] = {}
    for before, node in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(before, ast.Assign)
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
        ):
            words[ImageStatus[ast.unparse(before.targets[0])]] = " ".join(str(node.value.value).split())
    return words
