"""What a diagnosis says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from feast_rs.diagnosis.report_text import write_report

Severity = Literal["error", "warning", "info", "ok"]

Source = Literal["online_store", "connection_string", "default"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info", "ok")
"""From the worst on."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    """``error``: features are wrong, missing or unreachable. ``warning``: they may become so.
    ``info``: worth knowing. ``ok``: looked at, and as it should be."""

    check: str
    """What was looked at: a short name that stays the same over releases."""

    subject: str | None
    """The server's address, the view, or the join keys that it is about, if it is about one."""

    what: str
    """What was found."""

    advice: str = ""
    """What to do; empty where there is nothing to be done."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)


class Findings:
    """Findings as they come."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    def error(self, check: str, subject: str | None, what: str, advice: str) -> None:
        """Adds an error."""
        self._found.append(Finding("error", check, subject, what, advice))

    def warning(self, check: str, subject: str | None, what: str, advice: str) -> None:
        """Adds a warning."""
        self._found.append(Finding("warning", check, subject, what, advice))

    def info(self, check: str, subject: str | None, what: str, advice: str = "") -> None:
        """Adds what is worth knowing."""
        self._found.append(Finding("info", check, subject, what, advice))

    def ok(self, check: str, subject: str | None, what: str) -> None:
        """Adds what is as it should be."""
        self._found.append(Finding("ok", check, subject, what))

    def extend(self, others: Findings) -> None:
        """Adds what others found."""
        self._found.extend(others)


@dataclass(frozen=True)
class Setting:
    """A setting as it was understood."""

    name: str
    """As ``feature_store.yaml`` has it."""

    value: Any
    """``***`` for a secret that is there."""

    source: Source
    """Where it comes from."""


@dataclass
class ServerReport:
    """What is known of one server; None is what could not be found out."""

    address: str
    role: str
    """``primary``, ``replica``, ``sentinel``, or ``unknown`` where the topology is not known."""
    slots: list[tuple[int, int]] = field(default_factory=list)
    reachable: bool = False
    flavour: str | None = None
    """``Redis``, ``Valkey``..."""
    version: str | None = None
    connect_ms: float | None = None
    """The first call, which connects and logs in."""
    round_trip_ms: float | None = None
    """The median of some PINGs."""
    clock_skew_ms: float | None = None
    """By how much the server's clock is ahead of this machine's."""
    used_memory: int | None = None
    maxmemory: int | None = None
    """0 is no limit."""
    maxmemory_policy: str | None = None
    connected_clients: int | None = None
    maxclients: int | None = None
    evicted_keys: int | None = None
    rejected_connections: int | None = None
    operations_per_second: int | None = None
    command_p99_ms: dict[str, float] = field(default_factory=dict)
    """The server's own time for a command, 99th percentile since its start or a reset."""
    lag_bytes: int | None = None
    """Of a replica: how much of the primary's stream it has not acknowledged."""
    lag_seconds: int | None = None
    """Of a replica: seconds since its last acknowledgement."""
    keys: int | None = None
    """In the configured database, of whatever kind."""


@dataclass
class HashReport:
    """The sampled hashes of the project."""

    keys_seen: int = 0
    """Keys that SCAN gave, of whomever."""

    complete: bool = False
    """Whether these are all keys of all primaries."""

    sampled: int = 0
    """Hashes that were read whole."""

    encodings: dict[str, int] = field(default_factory=dict)
    """How many have which encoding."""

    fields_median: int | None = None
    fields_max: int | None = None
    memory_median: int | None = None
    """Bytes that Redis needs for one, with its key."""
    memory_max: int | None = None
    longest_value: int | None = None
    """In bytes."""
    expiring: int = 0
    """How many have a time to live."""
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each stored view: ``rows`` in the sample, and ``newest_event_timestamp``."""


@dataclass
class Diagnosis:
    """What was looked at, and what was found."""

    project: str
    began: datetime
    """With zone, UTC."""
    seconds: float = 0.0
    """How long it took."""
    settings: list[Setting] = field(default_factory=list)
    servers: list[ServerReport] = field(default_factory=list)
    hashes: HashReport = field(default_factory=HashReport)
    findings: list[Finding] = field(default_factory=list)
    """The worst first."""

    @property
    def is_healthy(self) -> bool:
        """Whether there is nothing worse than a warning."""
        return not any(finding.severity == "error" for finding in self.findings)

    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity: counted[severity] for severity in SEVERITIES}

    def take(self, findings: Findings) -> None:
        """Takes the findings, the worst first and otherwise in their order."""
        self.findings = sorted(findings, key=lambda found: SEVERITIES.index(found.severity))

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as JSON has it."""
        return {
            **asdict(self),
            "began": self.began.isoformat(),
            "is_healthy": self.is_healthy,
            "counts": self.counts(),
        }

    def to_text(self) -> str:
        """The diagnosis for people."""
        return write_report(self)

    def __str__(self) -> str:
        return self.to_text()
