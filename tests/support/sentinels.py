"""Three Sentinels that watch a primary and its replica."""

from __future__ import annotations

import time
from typing import Any

import redis

from tests.support.cluster import wait_until
from tests.support.server import DURABLE, RedisServer

MASTER = "mymaster"
DOWN_AFTER_MS = 500
"""After which silence a Sentinel takes a server for dead."""


class Sentinel(RedisServer):
    """One Sentinel, which keeps what it knows in its configuration file."""

    def __init__(self, primary: RedisServer, password: str | None) -> None:
        self._lines = [f"sentinel monitor {MASTER} {primary.host} {primary.port} 2"]
        if primary.password is not None:
            self._lines.append(f"sentinel auth-pass {MASTER} {primary.password}")
        self._lines += [
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        super().__init__(password=password)

    def start(self) -> None:
        super().start()
        # It asks and tells every 10 and 2 seconds otherwise, and a test waits for each.
        self.ask("DEBUG", "info-period", 300, "publish-period", 300)

    def command(self) -> list[str]:
        path = self.directory / "sentinel.conf"
        if not path.exists():
            lines = [f"port {self.port}", f"bind {self.host}", f"dir {self.directory}"]
            if self.password is not None:
                # What it asks of clients, and what it tells the other Sentinels.
                lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
            path.write_text("\n".join([*lines, *self._lines, ""]))
        return [self._binary, str(path), "--sentinel"]

    def ask(self, *command: Any) -> Any:
        """The reply to a SENTINEL command, as it comes."""
        with self.client(decode_responses=True, socket_timeout=2) as client:
            client.response_callbacks.clear()
            return client.execute_command("SENTINEL", *command)


class Sentinels:
    """The Sentinels, and the two servers of which one is the primary."""

    def __init__(
        self, password: str | None = None, sentinel_password: str | None = None, replicas: int = 1
    ) -> None:
        self.password, self.sentinel_password = password, sentinel_password
        self.servers: list[RedisServer] = []
        self.sentinels: list[Sentinel] = []
        try:
            common = (*DURABLE, "--repl-diskless-sync-delay", "0")
            first = RedisServer(*common, password=password)
            self.servers.append(first)
            for _ in range(replicas):
                follow = ("--replicaof", f"{first.host} {first.port}")
                self.servers.append(RedisServer(*common, *follow, password=password))
            self._wait_synced(first)
            for _ in range(3):
                self.sentinels.append(Sentinel(first, sentinel_password))
            self.wait_ok()
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[str]:
        """Of the servers and the Sentinels."""
        return [server.address for server in (*self.servers, *self.sentinels)]

    @property
    def connection_string(self) -> str:
        """The Sentinels, as Feast has them."""
        return ",".join(sentinel.address for sentinel in self.sentinels)

    @property
    def primary(self) -> RedisServer:
        """The server that takes itself for the primary."""
        return next(server for server in self.servers if server.is_up and is_primary(server))

    def mend(self) -> None:
        """Starts what is down, and empties the servers."""
        for server in (*self.servers, *self.sentinels):
            if server.is_running:
                server.resume()
            else:
                server.start()
        self.wait_ok()
        with self.primary.client() as client:
            client.flushall()

    def wait_ok(self) -> None:
        """Waits until all Sentinels know each other, name the same primary and have a replica."""

        def agreed() -> bool:
            primary = self.primary
            for sentinel in self.sentinels:
                known = fields(sentinel.ask("MASTER", MASTER))
                replicas = [fields(entry) for entry in sentinel.ask("REPLICAS", MASTER)]
                healthy = [entry for entry in replicas if entry["flags"] == "slave"]
                if (
                    known["port"] != str(primary.port)
                    or known["flags"] != "master"
                    or known["num-other-sentinels"] != "2"
                    or len(healthy) != len(self.servers) - 1
                ):
                    return False
            return True

        wait_until(agreed, "the Sentinels agree")
        self._wait_synced(self.primary)

    def _wait_synced(self, primary: RedisServer) -> None:
        replicas = [server for server in self.servers if server is not primary]
        wait_until(
            lambda: all(role(server)[-2] == "connected" for server in replicas),
            "the replicas' data",
        )

    def fail_over(self, by: Sentinel | None = None) -> tuple[RedisServer, RedisServer]:
        """Forces a failover; returns the old and the new primary when both know."""
        old, by = self.primary, by or self.sentinels[0]
        # Refused while the last one's end is not known to the Sentinel.
        deadline = time.monotonic() + 10
        while True:
            try:
                by.ask("FAILOVER", MASTER)
                break
            except redis.ResponseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        return old, self.wait_promoted(old)

    def wait_promoted(self, old: RedisServer) -> RedisServer:
        """Waits until another server than `old` is the primary, and `old` none if it is up."""

        def promoted() -> bool:
            return any(
                server is not old and server.is_up and is_primary(server) for server in self.servers
            ) and not (old.is_up and is_primary(old))

        wait_until(promoted, "the failover")
        return self.primary

    def close(self) -> None:
        """Ends them all."""
        for server in (*self.sentinels, *self.servers):
            server.close()


def role(server: RedisServer) -> list[Any]:
    """What the server says of its part."""
    with server.client(decode_responses=True, socket_timeout=2) as client:
        reply: list[Any] = client.execute_command("ROLE")
        return reply


def is_primary(server: RedisServer) -> bool:
    return bool(role(server)[0] == "master")


def fields(entry: list[str]) -> dict[str, str]:
    """Names and values that come by turns."""
    return dict(zip(entry[::2], entry[1::2], strict=True))
