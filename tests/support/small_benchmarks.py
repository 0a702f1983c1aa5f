"""The benchmarks of docs/performance.md, with numbers so small that they measure nothing."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import numpy as np
import photographs
import torch

__all__ = ["run_small"]


@dataclass(frozen=True)
class Small:
    """How a benchmark is made small.

    Attributes:
        options: added to the words of the page; `{folder}` is one for the test's files.
        constants: names of the script, and what stands there in place of its own.
        stored: the file that it stores; `<name>.json` where empty.
        own_ray: its jobs join no Ray that `RAY_ADDRESS` names, for workers need what is in the jobs'
            environment.
    """

    options: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    stored: str = ""
    own_ray: bool = False


SMALL = {
    "network": Small(
        ("--turns", "1", "--threads", "1"),
        {"CASES": {"cpu": [("posrefine_tiny", 64, 1)]}},
        "network_cpu_1_threads.json",
    ),
    "predictor": Small(
        ("--turns", "1", "--threads", "1"),
        {"CASES": (("posrefine_tiny", 64),)},
        "predictor_cpu_1_threads.json",
    ),
    "runs": Small(("--idle-images", "4"), {"NETWORKS": (("posrefine_tiny", 256, 4, 2),)}, own_ray=True),
    "pipeline_workers": Small(("--images-per-actor", "2", "--actors", "1")),
    "pipeline_memory": Small(("--sizes", "20")),
    "planning": Small(("--sizes", "1000")),
    "finalize": Small(("--units", "20")),
    "zoom_pass": Small(("--scenes", "1")),
    "training": Small(("--turns", "1", "--input-size", "64", "--batch-size", "2")),
    "evaluation": Small(
        (
            *("--source", "{folder}/source.npz", "--store", "{folder}/evaluation.json"),
            *("--images", "5", "--variants", "numbers", "everything"),
        )
    ),
    "synthetic": Small(("--scenes", "1", "--output", "{folder}/synthetic.json")),
}


def run_small(script: str, arguments: list[str], folder: Path) -> None:
    """`python benchmarks/<script> <arguments>` in this process; what it measures is stored in `folder`."""
    name = script.removesuffix(".py")
    small, module = SMALL[name], import_module(name)
    options = [option.format(folder=folder) for option in small.options]
    if name == "evaluation":
        write_source(folder / "source.npz")
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        for one in (
            mock.patch.dict(os.environ),
            mock.patch.object(sys, "argv", [script, *arguments, *options]),
            mock.patch.object(sys, "path", [*sys.path]),
            mock.patch.object(machine, "RESULTS", folder),
            mock.patch.object(photographs, "DIFFERENT_IMAGES", 2),
            mock.patch.multiple(module, **small.constants) if small.constants else ExitStack(),
            torch.random.fork_rng(),
            warnings.catch_warnings(),
        ):
            stack.enter_context(one)
        stack.callback(torch.set_num_threads, threads)
        if small.own_ray:
            os.environ.pop("RAY_ADDRESS", None)
        # A script that ends closes its children's pipes by that.
        warnings.simplefilter("ignore", ResourceWarning)
        module.main()
    assert json.loads((folder / (small.stored or f"{name}.json")).read_text()), name


def write_source(path: Path) -> None:
    """Five images of one person each, in place of the annotations of COCO's training set."""
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.integers(0, 400, (5, 17, 2)), np.full((5, 17, 1), 2)], axis=2)
    np.savez(
        path,
        image_id=np.arange(5),
        wh=np.full((5, 2), 480),
        person_image=np.arange(5),
        bbox=np.tile([50.0, 50.0, 300.0, 200.0], (5, 1)),
        keypoints=keypoints,
    )
