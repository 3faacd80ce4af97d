"""Whether a server has room, and what it does when it has none."""

from __future__ import annotations

from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings
from feast_rs.diagnosis.servers import Server

_NEARLY_FULL = 0.85
_FRAGMENTED = 1.8
# Below, the allocator's own share is large and means nothing.
_FRAGMENTED_BYTES = 128 << 20


def examine_memory(server: Server, keys_expire: bool, found: Findings) -> None:
    """Memory, its limit, and the eviction policy. `keys_expire` tells whether this project's keys
    have a time to live, which is what the ``volatile`` policies evict."""
    report = server.report
    used, limit, policy = report.used_memory, report.maxmemory, report.maxmemory_policy
    if used is None:
        return
    _examine_fragmentation(server, used, found)
    if not limit:
        _examine_machine(server, used, found)
    elif policy is not None:
        evicts = policy.startswith("allkeys") or (policy.startswith("volatile") and keys_expire)
        if evicts:
            found.warning(
                "eviction",
                server.address,
                f"maxmemory-policy {policy} removes features when the memory is full, and reads "
                "then answer nulls as if they had never been written",
                "Set maxmemory-policy noeviction, so that writes fail instead, and watch the "
                "memory.",
            )
        else:
            found.ok("eviction", server.address, f"{policy} removes no features of this project")
        if used > _NEARLY_FULL * limit:
            found.warning(
                "memory",
                server.address,
                f"{wording.size(used)} of {wording.size(limit)} are in use; then "
                + ("features are evicted" if evicts else "writes are refused (OOM)"),
                "Raise maxmemory, add shards, or set key_ttl_seconds so that entities that are "
                "gone make room.",
            )
        else:
            found.ok("memory", server.address, f"{used / limit:.0%} of maxmemory is in use")
    if report.evicted_keys:
        found.warning(
            "eviction",
            server.address,
            f"it has evicted {wording.count(report.evicted_keys, 'key')} since its start",
            "Raise maxmemory and materialize again what is missing; CONFIG RESETSTAT begins to "
            "count anew.",
        )


def _examine_machine(server: Server, used: int, found: Findings) -> None:
    machine = server.number("total_system_memory")
    if machine and used > _NEARLY_FULL * machine:
        found.warning(
            "memory",
            server.address,
            f"{wording.size(used)} of the machine's {wording.size(machine)} are in use, and there "
            "is no maxmemory: the system may kill the server",
            "Set maxmemory with maxmemory-policy noeviction, and add memory or shards.",
        )
    else:
        found.info(
            "memory",
            server.address,
            f"{wording.size(used)} are in use, and there is no maxmemory",
            "Set maxmemory below the machine's memory, so that a full server refuses writes and "
            "is not killed.",
        )


def _examine_fragmentation(server: Server, used: int, found: Findings) -> None:
    resident = server.number("used_memory_rss")
    if resident and used > _FRAGMENTED_BYTES and resident > _FRAGMENTED * used:
        found.info(
            "memory",
            server.address,
            f"{wording.size(resident)} are taken for {wording.size(used)} of data",
            "Turn activedefrag on, or restart a replica and fail over to it.",
        )
