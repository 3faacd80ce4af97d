"""One server: whether it serves, how far away it is, and what it says of itself."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from typing import Any

from feast_rs import _core
from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings, ServerReport
from feast_rs.errors import FeastRsError, ServerError, TimeoutError

_PINGS = 15
_CLOCK_READINGS = 5
_LARGEST_SKEW_SECONDS = 1.0
# Of what is full when there is none left.
_NEARLY_FULL = 0.85
_SLOW_COMMAND_MS = 10.0
_READS = ("hgetall", "hmget")
_P99 = re.compile(r"p99=([0-9.]+)")


class Server:
    """A server that can be asked, each time within the time limit."""

    def __init__(self, client: _core.Client, report: ServerReport, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self.report = report
        self.address = report.address
        self.facts: dict[str, str] = {}
        """What INFO says."""

    def run(self, commands: Sequence[Sequence[bytes]]) -> list[Any]:
        """The replies to commands that are sent together."""
        try:
            return self._client.execute(commands, self.address, self._timeout)
        except TimeoutError as cause:
            raise TimeoutError(
                f"redis at {self.address}: no answer within {self._timeout:g} s"
            ) from cause

    def ask(self, *command: bytes) -> Any:
        """The reply to one command."""
        return self.run([command])[0]

    def number(self, name: str) -> int | None:
        """A number that INFO has."""
        text = self.facts.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None


def parse_info(reply: Any) -> dict[str, str]:
    """INFO's lines by name."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def examine_server(server: Server, is_needed: bool, found: Findings) -> bool:
    """Examines a server; whether it serves. One that is not needed may be away."""
    report = server.report
    try:
        start = time.perf_counter()
        _greet(server)
        report.connect_ms = (time.perf_counter() - start) * 1e3
        report.reachable = True
        _measure(server, found)
        _look(server, found)
    except FeastRsError as error:
        report.reachable = False
        _unreachable(server, error, is_needed, found)
        return False
    return True


def _greet(server: Server) -> None:
    try:
        server.ask(b"PING")
    except ServerError as error:
        # It serves, if not this; a connection that was refused is not told by NOPERM or MISCONF.
        if not re.search(r"\b(NOPERM|MISCONF|unknown command)\b", str(error)):
            raise


def _unreachable(server: Server, error: FeastRsError, is_needed: bool, found: Findings) -> None:
    what = wording.error(error)
    if re.search(r"NOAUTH|WRONGPASS|credentials|wants a password", what):
        advice = "Correct username and password (or auth_token), or the user on the server."
    elif "LOADING" in what:
        advice = "Wait until the server has loaded its data."
    elif isinstance(error, TimeoutError):
        advice = (
            "See whether the server hangs or a firewall drops packets; --timeout gives it more "
            "time."
        )
    else:
        advice = "Start the server, or correct its address; see that the network lets this host in."
    if is_needed:
        found.error("server", server.address, what, advice)
    else:
        others = "the other Sentinels do" if server.report.role == "sentinel" else "primaries do"
        found.warning(
            "server", server.address, f"{what}; {others} what is needed meanwhile", advice
        )


def _measure(server: Server, found: Findings) -> None:
    """Round trip and clock."""
    trips = []
    try:
        for _ in range(_PINGS):
            start = time.perf_counter()
            server.ask(b"PING")
            trips.append((time.perf_counter() - start) * 1e3)
    except ServerError:
        trips.clear()
    if trips:
        server.report.round_trip_ms = statistics.median(trips)
    if server.report.role == "sentinel":
        return
    readings = []
    try:
        for _ in range(_CLOCK_READINGS):
            start = time.time()
            seconds, micros = server.ask(b"TIME")
            end = time.time()
            theirs = int(seconds) + int(micros) / 1e6
            readings.append((end - start, theirs - (start + end) / 2))
    except ServerError as error:
        found.info("clock", server.address, f"TIME cannot be asked: {wording.error(error)}")
        return
    if not trips:
        # An ACL may forbid PING, and a server that cannot save refuses it.
        server.report.round_trip_ms = statistics.median(trip for trip, _ in readings) * 1e3
    # The shortest call leaves least open.
    skew = min(readings)[1]
    server.report.clock_skew_ms = skew * 1e3
    if abs(skew) > _LARGEST_SKEW_SECONDS:
        direction = "ahead of" if skew > 0 else "behind"
        found.warning(
            "clock",
            server.address,
            f"its clock is {wording.span(abs(skew))} {direction} this machine's: times to live "
            "end, and rows count as too old, at the wrong moment",
            "Have NTP set the clocks of both machines.",
        )
    else:
        found.ok("clock", server.address, f"its clock differs by {abs(skew) * 1e3:.1f} ms")


def _look(server: Server, found: Findings) -> None:
    """What INFO tells."""
    try:
        server.facts = parse_info(server.ask(b"INFO"))
    except ServerError as error:
        found.warning(
            "info",
            server.address,
            f"INFO cannot be asked, so that memory, persistence and connections stay unknown: "
            f"{wording.error(error)}",
            "Permit the user INFO, or run the diagnosis as another one.",
        )
        return
    report, facts = server.report, server.facts
    report.flavour, report.version = _version(facts)
    report.used_memory = server.number("used_memory")
    report.maxmemory = server.number("maxmemory")
    report.maxmemory_policy = facts.get("maxmemory_policy")
    report.connected_clients = server.number("connected_clients")
    report.maxclients = server.number("maxclients")
    report.evicted_keys = server.number("evicted_keys")
    report.rejected_connections = server.number("rejected_connections")
    report.operations_per_second = server.number("instantaneous_ops_per_sec")
    if report.role == "sentinel":
        return
    _examine_state(server, found)
    _examine_clients(server, found)
    _examine_latency(server, found)


def _version(facts: dict[str, str]) -> tuple[str, str | None]:
    for flavour in ("Valkey", "Dragonfly", "KeyDB"):
        version = facts.get(f"{flavour.lower()}_version")
        if version is not None:
            return flavour, version.removeprefix("df-v")
    return "Redis", facts.get("redis_version")


def _examine_state(server: Server, found: Findings) -> None:
    address, facts = server.address, server.facts
    if facts.get("loading") == "1":
        found.error(
            "loading",
            address,
            f"it is loading its data, for {facts.get('loading_eta_seconds', '?')} s more",
            "Wait until it has.",
        )
    failed = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if facts.get(name, "ok") != "ok"
    ]
    if failed:
        found.error(
            "persistence",
            address,
            f"it could not save its data ({', '.join(failed)}), and refuses writes with MISCONF "
            "unless told otherwise",
            "See the server's log: most often the disk is full or not writable, or there is no "
            "memory to fork.",
        )
    else:
        found.ok("persistence", address, "no failed saves")


def _examine_clients(server: Server, found: Findings) -> None:
    report = server.report
    used, most = report.connected_clients, report.maxclients
    if used is not None and most and used > _NEARLY_FULL * most:
        found.warning(
            "connections",
            server.address,
            f"{used} of {most} connections are in use",
            "Lower redis_pool_size, look for clients that leave connections behind, or raise "
            "maxclients.",
        )
    if report.rejected_connections:
        found.warning(
            "connections",
            server.address,
            f"it has turned away {wording.count(report.rejected_connections, 'connection')} since "
            "its start, for having too many",
            "Lower redis_pool_size or raise maxclients; CONFIG RESETSTAT begins to count anew.",
        )
    elif used is not None:
        found.ok(
            "connections", server.address, f"{wording.count(used, 'connection')}, none refused"
        )


def _examine_latency(server: Server, found: Findings) -> None:
    """The server's own time; INFO has it since Redis 7."""
    try:
        latencies = parse_info(server.ask(b"INFO", b"latencystats"))
    except ServerError:
        return
    for name, value in latencies.items():
        p99 = _P99.search(value)
        command = name.removeprefix("latency_percentiles_usec_")
        if p99 and command in (*_READS, "hset", "eval", "evalsha"):
            server.report.command_p99_ms[command] = float(p99[1]) / 1e3
    slow = {
        command: took
        for command, took in server.report.command_p99_ms.items()
        if command in _READS and took > _SLOW_COMMAND_MS
    }
    if slow:
        listed = ", ".join(f"{command} {took:.1f} ms" for command, took in sorted(slow.items()))
        found.warning(
            "latency",
            server.address,
            f"one in a hundred commands takes the server itself long: {listed}",
            "Look at SLOWLOG GET and at the widest hashes, and whether it swaps or shares its CPU.",
        )


def examine_field_expiry(server: Server, found: Findings) -> None:
    """Whether the server knows times to live of hash fields, which ``ttl_per_view`` needs."""
    try:
        (known,) = server.ask(b"COMMAND", b"INFO", b"HPEXPIREAT")
    except ServerError:
        return
    if known is None:
        found.error(
            "field-expiry",
            server.address,
            "ttl_per_view is set, and the server knows no times to live of hash fields: writes "
            "are refused",
            "Upgrade to Redis 7.4, Valkey 9 or later, or remove ttl_per_view.",
        )
    else:
        found.ok("field-expiry", server.address, "it knows times to live of hash fields")
