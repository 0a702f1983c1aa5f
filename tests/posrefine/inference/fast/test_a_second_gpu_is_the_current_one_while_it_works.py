"""What goes to torch's current GPU is made, recorded, launched and waited for on the predictor's own.

There is no GPU here: the calls of `torch.cuda` are stood in for, and tell which GPU was current.
"""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

import pytest
import torch
from support.networks import noisy_network

from posrefine.inference.fast.device import available_device
from posrefine.inference.fast.graphs import CudaGraphs
from posrefine.inference.fast.network import FastMaps
from posrefine.inference.fast.on_device import on_device
from posrefine.inference.fast.prepare import PreparedNetwork, bfloat16_is_fast

POSREFINE = Path(__file__).parents[4] / "posrefine"
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


class Cuda:
    """Stands in for `torch.cuda`: which GPU is current, and what happened on which."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = FIRST
        self.seen: list[tuple[str, torch.device]] = []
        for name, stand_in in (
            ("device", self.device),
            ("graph_pool_handle", lambda: self.note("pool")),
            ("Stream", lambda: self.note("stream")),
            ("CUDAGraph", lambda: _Graph(self)),
            ("graph", self.graph),
            ("is_bf16_supported", lambda **_: self.note("asked")),
        ):
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def note(self, what: str) -> str:
        self.seen.append((what, self.current))
        return f"{what} on {self.current}"

    @contextlib.contextmanager
    def device(self, device: torch.device):
        before, self.current = self.current, device
        yield
        self.current = before

    @contextlib.contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode):
        assert (pool, stream) == (f"pool on {SECOND}", f"stream on {SECOND}")
        self.note("begin")
        yield
        self.note("end")


class _Graph:
    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        cuda.note("graph")

    def replay(self) -> None:
        self._cuda.note("replay")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda(monkeypatch)


def test_graphs_are_recorded_and_replayed_on_their_own_gpu_in_a_stream_of_it(cuda: Cuda):
    def network(images: torch.Tensor) -> FastMaps:
        cuda.note("launch")
        return FastMaps(images, images)

    graphs = CudaGraphs(network, SECOND)
    for _ in range(3):
        graphs(torch.zeros(1))
    happened = [what for what, _ in cuda.seen]
    assert happened == [
        "pool", "stream", "launch", "graph", "begin", "launch", "end", "replay", "replay",
    ]  # fmt: skip
    assert {where for _, where in cuda.seen} == {SECOND}
    assert cuda.current == FIRST


def test_a_prepared_network_runs_on_its_own_gpu(cuda: Cuda):
    prepared = PreparedNetwork(noisy_network(), torch.device("cpu"), torch.float32)
    run = prepared._run
    prepared._device = SECOND
    prepared._run = lambda images: (cuda.note("run"), run(images))[1]
    prepared(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert cuda.seen == [("run", SECOND)]


def test_it_is_the_gpu_in_question_that_is_asked_for_bfloat16(cuda: Cuda):
    assert bfloat16_is_fast(SECOND)
    assert cuda.seen == [("asked", SECOND)]


def test_a_cpu_has_nothing_to_choose(cuda: Cuda):
    with on_device(torch.device("cpu")):
        assert cuda.current == FIRST
    assert available_device("cpu") == torch.device("cpu")


TO_THE_CURRENT_GPU = {
    "torch.cuda.CUDAGraph", "torch.cuda.Event", "torch.cuda.Stream", "torch.cuda.current_stream",
    "torch.cuda.graph", "torch.cuda.graph_pool_handle", "torch.cuda.is_bf16_supported",
    "torch.cuda.synchronize", "_adaptive_block",
}  # fmt: skip


def calls_outside(tree: ast.AST, guarded: bool = False):
    """Calls to the current GPU that lie in no `with on_device(...)`."""
    for node in ast.iter_child_nodes(tree):
        inside = guarded
        if isinstance(node, ast.With):
            inside |= any(ast.unparse(item.context_expr).startswith("on_device(") for item in node.items)
        if isinstance(node, ast.Call):
            called = node.func.value if isinstance(node.func, ast.Subscript) else node.func
            if ast.unparse(called) in TO_THE_CURRENT_GPU and not inside:
                yield ast.unparse(node.func)
        yield from calls_outside(node, inside)


def test_nothing_in_the_library_goes_to_the_current_gpu_without_saying_which_it_is():
    for source in POSREFINE.rglob("*.py"):
        assert not list(calls_outside(ast.parse(source.read_text()))), source
