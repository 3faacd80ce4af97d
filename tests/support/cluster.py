"""A Redis Cluster of real servers: nodes to kill, pause and promote, slots to move."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import redis

from tests.support.proxy import Proxy
from tests.support.server import DURABLE, RedisServer, free_port

if TYPE_CHECKING:
    # Where nobody asks for TLS there need be no `cryptography`.
    from tests.support.certificates import Certificates

SLOTS = 16384
NODE_TIMEOUT_MS = 1000
"""After which silence the others take a node for dead."""
PATIENCE_SECONDS = 20.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for `condition`; a server that does not answer meanwhile is no fault."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Node(RedisServer):
    """A server in cluster mode. With a proxy, clients and other nodes are told of the proxy."""

    def __init__(self, *options: str, proxied: bool, **settings: Any) -> None:
        self.bus_port = free_port()
        self.proxy: Proxy | None = None
        port = free_port()
        mode = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
        mode += ["--cluster-port", str(self.bus_port), "--repl-diskless-sync-delay", "0"]
        # A replica that has had nothing of its primary yet, not even a ping, is told to nobody.
        mode += ["--repl-ping-replica-period", "1", "--cluster-announce-ip", "127.0.0.1"]
        mode += ["--cluster-announce-bus-port", str(self.bus_port)]
        # The port is announced at all only where it is told.
        announced = "--cluster-announce-port"
        if settings.get("certificates") is not None:
            mode += ["--tls-cluster", "yes", "--tls-replication", "yes"]
            announced = "--cluster-announce-tls-port"
        if proxied:
            self.proxy = Proxy(port)
            mode += [announced, str(self.proxy.port)]
        super().__init__(*mode, *options, port=port, **settings)
        self.id = str(self.client(decode_responses=True).execute_command("CLUSTER MYID"))

    @property
    def announced(self) -> str:
        """The address that clients are told."""
        return self.proxy.address if self.proxy else self.address

    def ask(self, *command: Any) -> Any:
        """The reply to one command, over a connection of its own."""
        with self.client(decode_responses=True, socket_timeout=2) as client:
            return client.execute_command(*command)

    @property
    def is_primary(self) -> bool:
        """Whether the node takes itself for one."""
        return bool(self.ask("ROLE")[0] == "master")

    @property
    def is_synced(self) -> bool:
        """Whether the node is a primary, or a replica that has its primary's data."""
        role = self.ask("ROLE")
        return bool(role[0] == "master" or role[3] == "connected")

    def close(self) -> None:
        super().close()
        if self.proxy:
            self.proxy.close()


class Cluster:
    """Primaries with replicas; the first of `shards[n]` is the primary that the shard began with.

    `full_coverage` is cluster-require-full-coverage: whether one lost shard stops the others.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 1,
        *options: str,
        full_coverage: bool = False,
        proxied: bool = False,
        certificates: Certificates | None = None,
        password: str | None = None,
    ) -> None:
        common = ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), *DURABLE]
        common += ["--cluster-require-full-coverage", "yes" if full_coverage else "no"]
        common += ["--cluster-replica-validity-factor", "0", *options]
        self.nodes: list[Node] = []
        try:
            for _ in range(primaries * (1 + replicas)):
                node = Node(*common, proxied=proxied, certificates=certificates, password=password)
                self.nodes.append(node)
            self._form(primaries)
        except BaseException:
            self.close()
            raise

    def _form(self, primaries: int) -> None:
        leading, following = self.nodes[:primaries], self.nodes[primaries:]
        self.shards = [[node] for node in leading]
        first = leading[0]
        for epoch, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
            if node is not first:
                port = first.proxy.port if first.proxy else first.port
                node.ask("CLUSTER MEET", "127.0.0.1", port, first.bus_port)
        for at, node in enumerate(leading):
            start, end = SLOTS * at // primaries, SLOTS * (at + 1) // primaries - 1
            node.ask("CLUSTER ADDSLOTSRANGE", start, end)
        count = len(self.nodes)
        wait_until(
            lambda: all(len(nodes_known(node)) == count for node in self.nodes), "all nodes met"
        )
        for at, node in enumerate(following):
            shard = self.shards[at % primaries]
            shard.append(node)
            node.ask("CLUSTER REPLICATE", shard[0].id)
        self.wait_ok()

    @property
    def addresses(self) -> list[str]:
        """Of all nodes, as clients are told them."""
        return [node.announced for node in self.nodes]

    @property
    def connection_string(self) -> str:
        """As Feast has it, with every node as a place to start."""
        return ",".join(self.addresses)

    def primaries(self) -> list[Node]:
        """The nodes that lead a shard now."""
        return [node for node in self.nodes if node.is_up and node.is_primary]

    def primary(self, shard: int) -> Node:
        """The node that leads a shard now."""
        return next(node for node in self.shards[shard] if node.is_up and node.is_primary)

    def replica(self, shard: int) -> Node:
        """A node that follows in a shard now."""
        return next(node for node in self.shards[shard] if node.is_up and not node.is_primary)

    def wait_ok(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Waits until every node that runs agrees on who owns what, and has its primary's data."""
        running = [node for node in self.nodes if node.is_up]
        ids = {node.id for node in running}

        def agreed() -> bool:
            views = [slots_known(node) for node in running]
            return (
                all(view == views[0] for view in views)
                and {id for *_, serving in views[0] for id in serving} == ids
                and sum(last - first + 1 for first, last, _ in views[0]) == SLOTS
                and all(node.ask("CLUSTER INFO").get("cluster_state") == "ok" for node in running)
                and all(node.is_synced for node in running)
            )

        wait_until(agreed, "the cluster is ok", seconds)

    def mend(self) -> None:
        """Starts what is down, undoes what proxies do, and empties all."""
        for node in self.nodes:
            if node.proxy:
                node.proxy.mend()
            if node.is_running:
                node.resume()
            else:
                node.start()
        self.wait_ok()
        for node in self.primaries():
            node.ask("FLUSHALL")

    def fail_over(self, shard: int, how: str = "") -> tuple[Node, Node]:
        """Makes a replica of the shard its primary: `how` is "", "FORCE" or "TAKEOVER".

        Returns the old and the new primary when both know.
        """
        old, new = self.primary(shard), self.replica(shard)
        command = ["CLUSTER FAILOVER", *filter(None, [how])]
        new.ask(*command)
        wait_until(lambda: new.is_primary and not old.is_primary, "the failover")
        return old, new

    def wait_promoted(self, shard: int, old: Node) -> Node:
        """Waits until another node than `old`, which is down, leads the shard for all others."""
        others = [node for node in self.nodes if node.is_up and node is not old]

        def promoted() -> bool:
            new = [node for node in self.shards[shard] if node in others and node.is_primary]
            return bool(new) and all(
                node.ask("CLUSTER INFO")["cluster_state"] == "ok" for node in others
            )

        wait_until(promoted, "a replica leads")
        return next(node for node in self.shards[shard] if node in others and node.is_primary)

    def slots(self, shard: int) -> list[tuple[int, int]]:
        """The ranges of slots that a shard has, first and last."""
        node = self.primary(shard)
        return [(first, last) for first, last, ids in slots_known(node) if ids[0] == node.id]

    def used_slots(self, shard: int) -> list[int]:
        """The slots of a shard that hold keys."""
        with self.primary(shard).client() as client, client.pipeline(transaction=False) as pipe:
            slots = [slot for first, last in self.slots(shard) for slot in range(first, last + 1)]
            for slot in slots:
                pipe.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
            return [slot for slot, count in zip(slots, pipe.execute(), strict=True) if count]

    def migrate(self, slots: Iterable[int], source: int, target: int) -> int:
        """Moves slots from a shard to another while both serve; returns how many keys moved."""
        giver, taker = self.primary(source), self.primary(target)
        moved = 0
        with contextlib.ExitStack() as stack:
            others = [node for node in self.primaries() if node not in (giver, taker)]
            take, give, *rest = (
                stack.enter_context(node.client()) for node in (taker, giver, *others)
            )
            for slot in slots:
                moved += move_keys(slot, (giver, give), (taker, take))
                # The one that takes knows first, else the slot would be nobody's for a moment.
                for client in (take, give, *rest):
                    client.execute_command("CLUSTER SETSLOT", slot, "NODE", taker.id)
        return moved

    def begin_migration(self, slots: Iterable[int], source: int, target: int) -> int:
        """Moves the keys of slots, which still belong to the shard that gave them."""
        giver, taker = self.primary(source), self.primary(target)
        with giver.client() as give, taker.client() as take:
            return sum(move_keys(slot, (giver, give), (taker, take)) for slot in slots)

    def close(self) -> None:
        """Ends all nodes."""
        for node in self.nodes:
            node.close()


def move_keys(slot: int, source: tuple[Node, redis.Redis], target: tuple[Node, redis.Redis]) -> int:
    """Begins the migration of a slot and moves its keys; returns how many."""
    (giver, give), (taker, take) = source, target
    take.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", giver.id)
    give.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taker.id)
    where: list[Any] = ["127.0.0.1", taker.port, "", 0, 5000]
    if taker.password is not None:
        where += ["AUTH", taker.password]
    moved = 0
    # Which would make texts of keys.
    give.response_callbacks.pop("CLUSTER GETKEYSINSLOT", None)
    # A key at a time, for what is between to be seen.
    while keys := give.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
        assert give.execute_command("MIGRATE", *where, "KEYS", *keys) == b"OK"
        moved += len(keys)
    return moved


def nodes_known(node: Node) -> list[str]:
    """The flags of each node that this one knows, but for those it is only shaking hands with."""
    flags = [entry["flags"] for entry in node.ask("CLUSTER NODES").values()]
    return [flag for flag in flags if "handshake" not in flag]


def slots_known(node: Node) -> list[tuple[int, int, tuple[str, ...]]]:
    """The slot ranges as this node knows them: first, last, and who has them, the primary first."""
    found = []
    with node.client(decode_responses=True, socket_timeout=2) as client:
        client.response_callbacks.pop("CLUSTER SLOTS", None)
        for first, last, leader, *replicas in client.execute_command("CLUSTER SLOTS"):
            ids = (leader[2], *sorted(replica[2] for replica in replicas))
            found.append((first, last, ids))
    return sorted(found)
