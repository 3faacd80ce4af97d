"""What a server has been asked to do."""

from __future__ import annotations

import redis

from tests.support.server import RedisServer


def reads_of(server: RedisServer) -> int:
    """How many hashes clients have read from the server, whole or in part."""
    with server.client(decode_responses=True) as client:
        counts = client.info("commandstats")
    names = ("cmdstat_dump", "cmdstat_hgetall", "cmdstat_hmget")
    return sum(int(counts[name]["calls"]) for name in names if name in counts)


def succeeded(client: redis.Redis, *commands: str) -> dict[str, int]:
    """How often each command was run without an error since the last reset."""
    stats = client.info("commandstats")
    told = {name: stats.get(f"cmdstat_{name}", {}) for name in commands}
    return {
        name: found.get("calls", 0) - found.get("failed_calls", 0) for name, found in told.items()
    }
