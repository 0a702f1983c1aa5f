"""The command `posrefine`: poses from photographs in one line of shell, without Ray.

Exit codes are those of the jobs: 0 complete, 1 crash, 2 bad usage or configuration, 3 complete but for images
that could not be used, 75 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from posrefine.command.arguments import Parser, Version
from posrefine.errors import ConfigurationError, PosRefineError
from posrefine.redaction import redacted
from posrefine.score_floor import SCORE_FLOOR

__all__ = ["main", "parser"]

_COMPLETE, _CRASH, _BAD_CONFIGURATION, _INTERRUPTED = 0, 1, 2, 75
_WEIGHTS_HELP = (
    "a name of the zoo, or a safetensors or PyTorch file (default: %(default)s, which knows rendered people; "
    "for photographs such as mmpose:dekr_w32_coco)"
)
_DEFAULT_WEIGHTS = "posrefine:tiny_coco"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the command line names; returns the exit code."""
    parsed = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    said = logging.StreamHandler()
    said.setFormatter(_WithoutSecrets("%(message)s"))
    logging.basicConfig(handlers=[said])
    logging.getLogger("posrefine").setLevel(logging.INFO)  # a download of weights tells how far it is
    # Imported when needed: a list of networks or a usage message waits for no Torch.
    module, _, function = parsed.runs.partition(":")
    run: Callable[[argparse.Namespace], int] = getattr(import_module(module), function)
    try:
        code = run(parsed)
        sys.stdout.flush()
    except PosRefineError as error:
        print(redacted(f"posrefine: error: {error}"), file=sys.stderr)
        return _BAD_CONFIGURATION if isinstance(error, ConfigurationError) else _CRASH
    except KeyboardInterrupt:
        print("posrefine: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough, as `| head` does. Python must not flush into the broken pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _COMPLETE
    except OSError as error:
        print(redacted(f"posrefine: error: {error}"), file=sys.stderr)
        return _CRASH
    except Exception:  # noqa: BLE001 - the end of the process
        # Python's own report would quote an address with its secrets.
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        return _CRASH
    return code


class _WithoutSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def parser() -> argparse.ArgumentParser:
    """The command line: `runs` names the function that does what it asks for."""
    top = Parser(prog="posrefine", description="Poses of people in photographs.", allow_abbrev=False)
    top.add_argument("--version", action=Version)
    commands = top.add_subparsers(required=True, metavar="command")

    predict = commands.add_parser(
        "predict",
        help="find the persons in photographs",
        allow_abbrev=False,
        description="Finds the persons in photographs. One that cannot be used is named, and costs no other.",
    )
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="an image file, or a folder of them")
    _add_network(predict)
    predict.add_argument("--no-rescore", action="store_true", help="leave out the weights' rescoring network")
    predict.add_argument(
        "--scales",
        type=_scales,
        default=(1.0,),
        metavar="S,S",
        help="test scales, such as 0.5,1,2 (default: 1)",
    )
    predict.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto, cpu or cuda (default: auto, a GPU if there is)",
    )
    predict.add_argument(
        "--min-score",
        type=float,
        default=SCORE_FLOOR,
        metavar="SCORE",
        help="leave out persons below it (default: %(default)s)",
    )
    predict.add_argument("--json", metavar="FILE", help="write the persons there; - is the standard output")
    predict.add_argument(
        "--draw", metavar="DIR", help="write every photograph with its persons drawn on it there"
    )
    predict.set_defaults(runs="posrefine.command.predict:predict")

    variants = commands.add_parser("variants", help="list the networks with parameters and multiply-adds")
    variants.set_defaults(runs="posrefine.command.lists:variants")
    zoo = commands.add_parser("zoo", help="list the weights that can be loaded by name")
    zoo.set_defaults(runs="posrefine.command.lists:zoo")

    export = commands.add_parser(
        "export",
        help="write a network with its weights as ONNX",
        allow_abbrev=False,
        description="Writes a network as ONNX, for any number of images of any size in multiples of 32.",
    )
    _add_network(export)
    export.add_argument("--onnx", required=True, metavar="FILE", help="the file to write")
    export.set_defaults(runs="posrefine.command.export:export")
    return top


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", default=_DEFAULT_WEIGHTS, metavar="NAME", help=_WEIGHTS_HELP)
    command.add_argument("--model", metavar="NAME", help="name of the network, for files that do not say")


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of scales such as 0.5,1,2") from None
