"""What a server has been asked to do."""

from __future__ import annotations

from tests.support.server import RedisServer


def reads_of(server: RedisServer) -> int:
    """How many hashes clients have read from the server, whole or in part."""
    with server.client(decode_responses=True) as client:
        counts = client.info("commandstats")
    names = ("cmdstat_hgetall", "cmdstat_hmget")
    return sum(int(counts[name]["calls"]) for name in names if name in counts)
