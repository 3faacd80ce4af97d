"""A diagnosis for people."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from feast_rs.diagnosis import wording

if TYPE_CHECKING:
    from feast_rs.diagnosis.findings import Diagnosis, Finding, HashReport, ServerReport, Setting

_WIDTH = 100
_INDENT = "           "


def write_report(diagnosis: Diagnosis) -> str:
    """Configuration, servers and hashes, and then what was found: that is what a terminal shows."""
    lines = [f"feast-rs doctor: project {diagnosis.project}"]
    lines += ["", "Configuration as it was understood", *_settings(diagnosis.settings)]
    lines += ["", "Servers", *_servers(diagnosis.servers)]
    lines += ["", "Hashes of the project", *_hashes(diagnosis.hashes)]
    lines += ["", "Findings"]
    for group in _grouped(diagnosis.findings):
        lines += _group(group)
    counts = diagnosis.counts()
    counted = ", ".join(
        (
            wording.count(number, severity)
            if severity in ("error", "warning")
            else f"{number} {severity}"
        )
        for severity, number in counts.items()
    )
    return "\n".join([*lines, "", f"{counted}; took {diagnosis.seconds:.1f} s"])


def _settings(settings: Sequence[Setting]) -> list[str]:
    rows = [[setting.name, _value(setting.value), _SOURCES[setting.source]] for setting in settings]
    return _table(rows)


_SOURCES = {
    "online_store": "feature_store.yaml",
    "connection_string": "connection_string",
    "default": "",
}


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _servers(servers: Sequence[ServerReport]) -> list[str]:
    head = ["address", "role", "version", "round trip", "clock", "memory", "clients", "keys"]
    rows = [head]
    for server in servers:
        if not server.reachable:
            rows.append([server.address, server.role, "does not serve"])
            continue
        memory = "-"
        if server.used_memory is not None:
            limit = wording.size(server.maxmemory) if server.maxmemory else "no limit"
            memory = f"{wording.size(server.used_memory)} / {limit}"
        clock = "-" if server.clock_skew_ms is None else f"{server.clock_skew_ms:+.1f} ms"
        rows.append(
            [
                server.address,
                server.role,
                f"{server.flavour or '?'} {server.version or '?'}",
                wording.milliseconds(server.round_trip_ms),
                clock,
                memory,
                f"{_or_dash(server.connected_clients)} / {_or_dash(server.maxclients)}",
                _or_dash(server.keys),
            ]
        )
    return _table(rows)


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _hashes(hashes: HashReport) -> list[str]:
    extent = "all there are" if hashes.complete else "not all"
    lines = [
        f"  {wording.count(hashes.sampled, 'hash')} sampled; "
        f"{wording.count(hashes.keys_seen, 'key')} seen, {extent}"
    ]
    if hashes.sampled:
        encodings = ", ".join(f"{number} {name}" for name, number in hashes.encodings.items())
        lines.append(f"  encoding: {encodings}")
        lines.append(
            f"  fields: {_or_dash(hashes.fields_median)} (median), "
            f"{_or_dash(hashes.fields_max)} at the most; "
            f"longest value: {wording.size(hashes.longest_value or 0)}"
        )
        if hashes.memory_median is not None and hashes.memory_max is not None:
            lines.append(
                f"  memory: {wording.size(hashes.memory_median)} (median), "
                f"{wording.size(hashes.memory_max)} at the most"
            )
        lines.append(f"  with a time to live: {hashes.expiring}")
    rows = [["view", "rows", "newest event"]] if hashes.views else []
    for name, view in hashes.views.items():
        rows.append([name, str(view["rows"]), view["newest_event_timestamp"] or "-"])
    return lines + _table(rows)


def _grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings with the same advice together, in the order of the first of each."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        group = (finding.severity, finding.check, finding.advice)
        groups.setdefault(group, []).append(finding)
    return list(groups.values())


def _group(findings: Sequence[Finding]) -> list[str]:
    first = findings[0]
    head = f"  {first.severity:8} [{first.check}]"
    if first.severity == "ok" and len(findings) > 1:
        # A cluster has many servers.
        where = {finding.subject or finding.what for finding in findings}
        return _wrapped(f"{head} as it should be: {wording.names(where)}")
    subjects_of: dict[str, list[str]] = {}
    for finding in findings:
        subjects = subjects_of.setdefault(finding.what, [])
        if finding.subject:
            subjects.append(finding.subject)
    lines = []
    for what, subjects in subjects_of.items():
        about = f"{wording.names(subjects)}: " if subjects else ""
        lines += _wrapped(f"{head} {about}{what}")
    if first.advice:
        lines += _wrapped(f"{_INDENT}-> {first.advice}", f"{_INDENT}   ")
    return lines


def _wrapped(text: str, indent: str = _INDENT) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns."""
    columns = max((len(row) for row in rows), default=0)
    widths = [
        max((len(row[at]) for row in rows if at < len(row)), default=0) for at in range(columns)
    ]
    return [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
