"""Machines for Ray's autoscaler that may be taken away: processes on loopback."""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

__all__ = ["SpotMachines"]


class SpotMachines(FakeMultiNodeProvider):
    """Ray's own provider of such machines, but that, as a cloud does, it lists none that is gone."""

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self.lock:
            for machine, found in list(self._nodes.items()):
                if "node" in found and not _lives(found["node"]):
                    self.terminate_node(machine)
            return list(super().non_terminated_nodes(tag_filters))


def _lives(machine: Any) -> bool:
    (raylet,) = machine.all_processes["raylet"]
    return raylet.process.poll() is None
