"""The configuration as it was understood, and limits that make no sense."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from feast_rs import _core
from feast_rs.config import STORE_SETTINGS, RedisOnlineStoreConfig
from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings, ServerReport, Setting, Source

# Two words for the same thing: the one that is shown, and the other.
_SYNONYMS = {
    "password": "auth_token",
    "socket_keepalive": "tcp_keepalive",
    "redis_pool_size": "max_connections",
    "servers": "connection_string",
}
# What has settings of its own once it is on.
_SWITCHES = ("ssl", "breaker", "credential_provider")
# A limit must leave room for the slower half of the calls.
_ROOM = 3.0


def client_of(settings: RedisOnlineStoreConfig, timeout: float) -> _core.Client:
    """A client of the diagnosis' own, with its time limits, that knows replicas as well."""
    written = json.loads(settings.connection_settings())
    written |= {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "request_timeout_ms": max(1, int(timeout * 1e3)),
    }
    # Without it a standalone server is not asked for its replicas, and Sentinel's replicas are
    # refused for being none. A cluster tells them anyway.
    if settings.redis_type != "redis_cluster":
        written["read_from"] = "prefer_replica"
    return _core.Client(json.dumps(written))


def understood(settings: RedisOnlineStoreConfig, own: _core.Client) -> list[Setting]:
    """All effective settings, without secrets, and where each comes from."""
    # What is off has no settings, so the defaults are those of what is on.
    effective = own.settings
    switches = {name: effective[name] for name in _SWITCHES if effective.get(name)}
    kind = {"redis_type": settings.redis_type, **switches}
    defaults = _core.Client(json.dumps(kind)).settings
    given = settings.model_fields_set
    found = []
    for name, value in effective.items():
        source: Source = "connection_string"
        if name in given or (_SYNONYMS.get(name) in given and value is not None):
            source = "online_store"
        elif name not in switches and name in defaults and defaults[name] == value:
            source = "default"
        found.append(Setting(name, value, source))
    for name in sorted(STORE_SETTINGS - {"type"}):
        value = getattr(settings, name)
        if name == "default_values":
            value = f"{len(value)} given" if value else None
        found.append(Setting(name, value, "online_store" if name in given else "default"))
    return found


def examine_settings(settings: RedisOnlineStoreConfig, own: _core.Client, found: Findings) -> None:
    """What can be said without asking a server."""
    for notice in own.notices:
        found.info("notice", None, notice)
    effective = own.settings
    _examine_secrecy(effective, found)
    _examine_limits(effective, settings.model_fields_set, found)
    if settings.redis_type == "redis_sentinel" and len(effective["servers"]) < 2:
        found.warning(
            "sentinels",
            None,
            "connection_string names one Sentinel only",
            "Name all Sentinels, so that any of them may be away when a process starts.",
        )


def _examine_secrecy(effective: dict[str, Any], found: Findings) -> None:
    remote = [address for address in effective["servers"] if not is_local(address)]
    if effective["ssl"]:
        if effective["ssl_cert_reqs"] == "none":
            found.warning(
                "tls",
                None,
                "TLS is spoken with whoever answers: ssl_cert_reqs is none",
                "Remove ssl_cert_reqs and give the authority's certificate as ssl_ca_certs.",
            )
        elif not effective["ssl_check_hostname"]:
            found.warning(
                "tls",
                None,
                "any host with a certificate of the authority is accepted: ssl_check_hostname is "
                "false",
                "Set ssl_server_name to the name in the certificate, in place of "
                "ssl_check_hostname.",
            )
        else:
            found.ok("tls", None, "certificates are verified")
    elif remote and (effective["password"] or "credential_provider" in effective):
        found.warning(
            "tls",
            None,
            f"password and features go over the network in plain text, to {wording.names(remote)}",
            "Set ssl: true (rediss:// in a URL) if the servers speak TLS.",
        )


def _examine_limits(effective: dict[str, Any], given: Iterable[str], found: Findings) -> None:
    request = effective["request_timeout_ms"]
    if request is None:
        found.warning(
            "limits",
            None,
            "a read may take as long as it likes: request_timeout_ms is off",
            "Set request_timeout_ms to what the callers can wait for.",
        )
        return
    for name in ("socket_timeout", "socket_connect_timeout"):
        limit = effective[name]
        if name in given and (limit is None or limit * 1e3 > request):
            shown = "no limit" if limit is None else f"{limit:g} s"
            found.warning(
                "limits",
                None,
                f"{name} ({shown}) is above request_timeout_ms ({request:g} ms), which ends a read "
                "before",
                f"Lower {name} below request_timeout_ms, or take it for a limit on writes alone.",
            )


def examine_measured(
    effective: dict[str, Any], servers: Sequence[ServerReport], found: Findings
) -> None:
    """The limits beside what was measured."""
    request, slow = effective["request_timeout_ms"], effective.get("breaker_slow_ms")
    connect, pool = effective["socket_connect_timeout"], effective["redis_pool_size"]
    for server in servers:
        trip, connecting = server.round_trip_ms, server.connect_ms
        if trip is not None and request is not None:
            _examine_request_limit(server.address, trip, request, found)
        if trip is not None and slow is not None and slow < _ROOM * trip:
            found.warning(
                "limits",
                server.address,
                f"breaker_slow_ms ({slow:g} ms) is close to the round trip "
                f"({wording.milliseconds(trip)}): ordinary calls open the breaker",
                "Raise breaker_slow_ms.",
            )
        if connecting is not None and connect is not None and connect * 1e3 < _ROOM * connecting:
            found.warning(
                "limits",
                server.address,
                f"connecting took {wording.milliseconds(connecting)} and may take "
                f"{connect * 1e3:g} ms (socket_connect_timeout)",
                "Raise socket_connect_timeout.",
            )
        if server.maxclients and server.role != "sentinel":
            _examine_pool(server, pool, found)


def _examine_request_limit(address: str, trip: float, limit: float, found: Findings) -> None:
    if limit <= trip:
        found.error(
            "limits",
            address,
            f"request_timeout_ms ({limit:g} ms) is below the round trip of a PING "
            f"({wording.milliseconds(trip)}): reads cannot succeed",
            "Raise request_timeout_ms, or move nearer to the server.",
        )
    elif limit < _ROOM * trip:
        found.warning(
            "limits",
            address,
            f"request_timeout_ms ({limit:g} ms) is close to the round trip of a PING "
            f"({wording.milliseconds(trip)})",
            "Raise request_timeout_ms to some times the round trip.",
        )


def _examine_pool(server: ServerReport, pool: int, found: Findings) -> None:
    # Blocking and async calls have a pool each.
    maxclients = server.maxclients or 0
    processes = maxclients // (2 * pool)
    what = (
        f"the server accepts {maxclients} connections, and a process may open {pool} for blocking "
        f"and {pool} for async calls (redis_pool_size)"
    )
    if processes < 2:
        found.warning(
            "pool-size",
            server.address,
            what,
            "Lower redis_pool_size, or raise the server's maxclients.",
        )
    else:
        found.info(
            "pool-size",
            server.address,
            f"{what}: {processes} processes may fill it",
            "Lower redis_pool_size if there are more pods times workers than that.",
        )


def is_local(address: str) -> bool:
    """Whether an address is of this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
