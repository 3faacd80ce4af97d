"""A Redis Cluster of three primaries without replicas."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

from redis.cluster import ClusterNode, RedisCluster

from .server import Server, free_port, private_server

PRIMARIES = 3
_SLOTS = 16384
_FORM_SECONDS = 30.0


class Cluster:
    """Primaries on the loopback interface that share the slots evenly, in their order."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = nodes
        places = [
            ClusterNode(node.host, node.port)  # type: ignore[no-untyped-call]
            for node in nodes
        ]
        self.client: Any = RedisCluster(startup_nodes=places)

    @property
    def address(self) -> str:
        """All nodes, in the form of Feast's `connection_string`."""
        return ",".join(node.address for node in self.nodes)

    @property
    def settings(self) -> dict[str, Any]:
        """What an `online_store` section says of it."""
        return {"redis_type": "redis_cluster", "connection_string": self.address}

    def node_of(self, key: bytes) -> Server:
        """The node that has a key."""
        slot = self.client.keyslot(key)
        return next(
            node for node, slots in zip(self.nodes, _shares(), strict=True) if slot in slots
        )


def _shares() -> list[range]:
    bounds = [_SLOTS * number // PRIMARIES for number in range(PRIMARIES + 1)]
    return [range(first, end) for first, end in pairwise(bounds)]


def _form(nodes: Sequence[Server], bus_ports: Sequence[int]) -> None:
    """Have the nodes meet and divide the slots, and wait until all of them say so."""
    for epoch, (node, slots) in enumerate(zip(nodes, _shares(), strict=True), 1):
        node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
        node.client.execute_command("CLUSTER ADDSLOTSRANGE", slots[0], slots[-1])
        if node is not nodes[0]:
            where = (nodes[0].host, nodes[0].port, bus_ports[0])
            node.client.execute_command("CLUSTER MEET", *where)
    deadline = time.monotonic() + _FORM_SECONDS
    while not all(_knows_all(node) for node in nodes):
        if time.monotonic() > deadline:
            raise SystemExit(f"The cluster was not formed within {_FORM_SECONDS:g} s")
        time.sleep(0.05)


def _knows_all(node: Server) -> bool:
    info = node.client.execute_command("CLUSTER INFO")
    return bool(
        info["cluster_state"] == "ok"
        and int(info["cluster_slots_ok"]) == _SLOTS
        and int(info["cluster_known_nodes"]) == PRIMARIES
    )


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """Run three servers in cluster mode. Nodes serve their slots also while others are lost."""
    with ExitStack() as stack:
        nodes, bus_ports = [], []
        for _ in range(PRIMARIES):
            bus_ports.append(free_port())
            options = ["--cluster-enabled", "yes", "--cluster-port", str(bus_ports[-1])]
            options += ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"]
            nodes.append(stack.enter_context(private_server(*options)))
        _form(nodes, bus_ports)
        cluster = Cluster(nodes)
        stack.callback(cluster.client.close)
        yield cluster
