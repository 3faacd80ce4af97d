"""Which servers there are, and whether together they are what the configuration says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from feast_rs import _core
from feast_rs.config import RedisOnlineStoreConfig
from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings, ServerReport
from feast_rs.diagnosis.servers import Server
from feast_rs.errors import FeastRsError, ServerError

SLOTS = 16384


def discover(client: _core.Client, settings: dict[str, Any], found: Findings) -> list[ServerReport]:
    """The servers; where they cannot be asked for, those that the configuration names."""
    try:
        nodes = client.nodes(refresh=True)
    except FeastRsError as error:
        servers = settings["servers"]
        if settings["redis_type"] == "redis" and settings["read_from"] == "primary":
            # Nobody needs to know its replicas; what keeps it from answering is told below.
            if isinstance(error, ServerError):
                found.info("replicas", None, f"replicas are not known: {wording.error(error)}")
            return [ServerReport(address, "primary") for address in servers]
        found.error(
            "topology",
            None,
            f"the servers cannot be found: {wording.error(error)}",
            "See what is said of each server, and whether redis_type is what runs there.",
        )
        if settings["redis_type"] == "redis_sentinel":
            return []
        return [ServerReport(address, "unknown") for address in servers]
    return [
        ServerReport(
            address=node["address"],
            role=node["role"],
            slots=[(int(first), int(last)) for first, last in node["slots"]],
        )
        for node in nodes
    ]


def reads_need(role: str, read_from: str) -> bool:
    """Whether reads go to servers of this role."""
    return role != "replica" or read_from != "primary"


def examine_kind(settings: dict[str, Any], servers: Iterable[Server], found: Findings) -> None:
    """Whether the servers are of the kind that the configuration says."""
    kind = settings["redis_type"]
    for server in servers:
        if server.report.role == "replica" and server.address not in settings["servers"]:
            continue
        mode = server.facts.get("redis_mode")
        enabled = server.facts.get("cluster_enabled") == "1" or mode == "cluster"
        if mode == "sentinel":
            found.error(
                "redis-type",
                server.address,
                "it is a Sentinel",
                "Set redis_type: redis_sentinel.",
            )
        elif enabled and kind != "redis_cluster":
            found.error(
                "redis-type",
                server.address,
                f"it is a node of a cluster, and redis_type is {kind}: keys of other nodes answer "
                "MOVED",
                "Set redis_type: redis_cluster.",
            )
        elif mode and not enabled and kind == "redis_cluster":
            found.error(
                "redis-type",
                server.address,
                "it is no node of a cluster, and redis_type is redis_cluster",
                "Set redis_type: redis.",
            )
        if (
            kind == "redis"
            and server.address in settings["servers"]
            and server.facts.get("role") == "slave"
        ):
            _misled(server.address, settings["read_from"], found)


def _misled(address: str, read_from: str, found: Findings) -> None:
    what = "connection_string leads to a replica, which refuses writes"
    advice = "Set connection_string to the primary, and list replicas under replicas."
    if read_from == "primary":
        found.error("role", address, what, advice)
    else:
        found.warning("role", address, what, advice)


def examine_shards(
    settings: RedisOnlineStoreConfig, servers: Sequence[ServerReport], found: Findings
) -> None:
    """Whether every slot is served, and has a replica."""
    primaries = [server for server in servers if server.role == "primary"]
    replicas = [server for server in servers if server.role == "replica"]
    if settings.redis_type == "redis_cluster":
        _examine_coverage(primaries, found)
        followed = {tuple(server.slots) for server in replicas}
        alone = [p.address for p in primaries if p.slots and tuple(p.slots) not in followed]
    else:
        alone = [] if replicas else [primary.address for primary in primaries]
    if not primaries:
        return
    if alone and settings.redis_type == "redis":
        found.info(
            "replicas",
            None,
            f"{alone[0]} has no replica: nothing is served while it is away",
            "Consider a replica with Sentinel, or on_error: defaults.",
        )
    elif alone:
        found.warning(
            "replicas",
            None,
            f"without a replica: {wording.names(alone)}",
            "Add a replica to each, so that a failover has somewhere to go.",
        )
    else:
        found.ok("replicas", None, f"every primary has a replica ({len(replicas)} in all)")


def _examine_coverage(primaries: Sequence[ServerReport], found: Findings) -> None:
    ranges = sorted(slots for primary in primaries for slots in primary.slots)
    gaps, following = [], 0
    for first, last in ranges:
        if first > following:
            gaps.append(f"{following}-{first - 1}")
        following = max(following, last + 1)
    if following < SLOTS:
        gaps.append(f"{following}-{SLOTS - 1}")
    if gaps:
        found.error(
            "slots",
            None,
            f"slots that no primary serves: {', '.join(gaps)}",
            "See CLUSTER NODES for a shard that has failed; bring it back, or give its slots to "
            "others (redis-cli --cluster fix).",
        )
    else:
        shards = wording.count(len(primaries), "primary")
        found.ok("slots", None, f"all {SLOTS} slots are served, by {shards}")


def examine_reads(read_from: str, servers: Sequence[ServerReport], found: Findings) -> None:
    """Where reads go, and how old the answers may be."""
    if read_from == "primary":
        found.ok("read-from", None, "reads go to primaries, which have every write")
        return
    replicas = [server for server in servers if server.role == "replica"]
    serving = [server for server in replicas if server.reachable]
    if read_from == "replica" and not serving:
        found.error(
            "read-from",
            None,
            "read_from is replica, and no replica serves",
            "Bring a replica up, or set read_from: prefer_replica.",
        )
        return
    if not serving:
        found.warning(
            "read-from",
            None,
            f"read_from is {read_from}, and no replica serves: all reads go to primaries",
            "Bring a replica up, or set read_from: primary.",
        )
        return
    lags = [server.lag_bytes for server in serving if server.lag_bytes is not None]
    unknown = len(serving) - len(lags)
    behind = f", {wording.size(max(lags))} behind at the most now" if lags else ""
    if unknown:
        whose = f" of {unknown}" if lags else ""
        behind += f", how far behind{whose} is not known"
    found.info(
        "read-from",
        None,
        f"read_from is {read_from}: a row may be read shortly after it was written and not be "
        f"there yet ({wording.count(len(serving), 'replica')}{behind})",
    )
