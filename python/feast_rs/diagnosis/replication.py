"""The replicas: whose they are, and how far they are behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings
from feast_rs.diagnosis.servers import Server

_LAG_SECONDS = 5
_LAG_BYTES = 4 << 20


def examine_listed(
    settings: dict[str, Any], servers: Sequence[Server], found: Findings
) -> list[Server]:
    """Whether the servers under ``replicas`` are replicas of connection_string's. Returns those
    that are not; what is not sure is not said."""
    primary = next((server for server in servers if server.report.role == "primary"), None)
    if settings["redis_type"] != "redis" or not settings["replicas"] or primary is None:
        return []
    foreign = []
    for server in servers:
        if server is primary:
            continue
        if server.address == primary.address or _is_same(server, primary):
            # An endpoint for reads leads there as well while no replica is up.
            found.warning(
                "role",
                server.address,
                "replicas lists it, and it is the server of connection_string itself",
                "List its replicas only; without any, remove replicas.",
            )
        elif server.facts.get("role") == "master":
            _foreign(server, primary, "it is a primary of its own", found)
        elif _follows_another(server, primary):
            _foreign(server, primary, f"it is a replica of {_followed(server)}", found)
        else:
            continue
        foreign.append(server)
    return foreign


def _foreign(server: Server, primary: Server, what: str, found: Findings) -> None:
    found.error(
        "role",
        server.address,
        f"replicas lists it, and {what}: what is written to {primary.address} does not get there",
        f"Make it a replica of {primary.address} (REPLICAOF), or remove it from replicas; if a "
        "failover has made it the primary, set connection_string to it.",
    )


def _is_same(server: Server, other: Server) -> bool:
    """Whether two addresses lead to one process."""
    run = server.facts.get("run_id")
    return run is not None and run == other.facts.get("run_id")


def _follows_another(server: Server, primary: Server) -> bool:
    """Whether a replica is surely not `primary`'s, be it through other replicas."""
    if server.facts.get("role") != "slave" or primary.facts.get("role") != "master":
        return False
    # The primary's replication ID is that of all who have its stream, whatever addresses they
    # know each other by.
    stream, own = server.facts.get("master_replid"), primary.facts.get("master_replid")
    if stream is not None and own is not None:
        if stream == own:
            return False
        if server.facts.get("master_link_status") == "up":
            return True
    # Hosts have an address inside and one outside, so other ones tell nothing.
    port = server.facts.get("master_port")
    return port not in (None, primary.address.rpartition(":")[2], primary.facts.get("tcp_port"))


def _followed(server: Server) -> str:
    """The address of a replica's primary, as the replica knows it."""
    host, port = server.facts.get("master_host", "?"), server.facts.get("master_port", "?")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def examine_replication(servers: Sequence[Server], read_from: str, found: Findings) -> None:
    """How far the replicas are behind, by what their primaries say."""
    by_address = {server.address: server for server in servers}
    for primary in servers:
        if primary.facts.get("role") == "master":
            _take_lags(primary, by_address)
    silent = [
        server.address for server in servers if server.report.role == "primary" and not server.facts
    ]
    for server in servers:
        if server.report.role == "replica" and server.report.reachable:
            _examine_replica(server, read_from, silent, found)


def _take_lags(primary: Server, by_address: dict[str, Server]) -> None:
    offset = primary.number("master_repl_offset")
    for name, line in primary.facts.items():
        if not (name.startswith("slave") and name[5:].isdigit()):
            continue
        entry = dict(part.partition("=")[::2] for part in line.split(","))
        host = entry.get("ip", "")
        host = f"[{host}]" if ":" in host else host
        replica = by_address.get(f"{host}:{entry.get('port', '')}")
        # Dragonfly tells no offset.
        if replica is None or offset is None or "offset" not in entry:
            continue
        replica.report.lag_bytes = max(0, offset - int(entry["offset"]))
        replica.report.lag_seconds = int(entry.get("lag", 0))


def _examine_replica(
    server: Server, read_from: str, silent: Sequence[str], found: Findings
) -> None:
    """`silent` are primaries that have not told their replicas."""
    report = server.report
    # Without INFO its primary may know it all the same.
    role = server.facts.get("role", "slave")
    if role != "slave":
        return
    if server.facts.get("master_link_status", "up") != "up":
        away = server.facts.get("master_link_down_since_seconds", "?")
        what = (
            f"it has lost its primary ({_followed(server)}), {away} s ago, and its data grows old"
        )
        advice = "See both servers' logs, and masterauth if the primary wants a password."
        if read_from == "primary":
            found.warning("replication", server.address, what, advice)
        else:
            found.error("replication", server.address, f"{what}; reads go there", advice)
    elif report.lag_bytes is None:
        why = (
            f"INFO of {wording.names(silent)} could not be asked"
            if silent
            else "no primary's INFO tells it of this address"
        )
        found.info(
            "replication",
            server.address,
            f"how far it is behind its primary is not known: {why}",
            "Compare master_repl_offset in INFO of both; a primary may know its replica by another "
            "address.",
        )
    elif (report.lag_seconds or 0) > _LAG_SECONDS or report.lag_bytes > _LAG_BYTES:
        found.warning(
            "replication",
            server.address,
            f"it is {wording.size(report.lag_bytes)} behind its primary, and told so "
            f"{report.lag_seconds or 0} s ago",
            "Write at a lower rate, or look at the replica's CPU and network.",
        )
    else:
        found.ok(
            "replication",
            server.address,
            f"{wording.size(report.lag_bytes)} behind its primary",
        )
