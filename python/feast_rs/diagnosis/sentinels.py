"""The Sentinels: whether they can carry out a failover, and agree."""

from __future__ import annotations

from collections.abc import Sequence

from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings
from feast_rs.diagnosis.servers import Server, examine_server
from feast_rs.errors import FeastRsError, ServerError


def examine_sentinels(sentinels: Sequence[Server], master: str, found: Findings) -> None:
    """Asks each Sentinel for its quorum, and where the primary is."""
    said: dict[str, list[str]] = {}
    for sentinel in sentinels:
        if not examine_server(sentinel, False, found):
            continue
        try:
            address = sentinel.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master.encode())
            if address is not None:
                _examine_quorum(sentinel, master, found)
        except FeastRsError as error:
            found.error(
                "sentinels",
                sentinel.address,
                wording.error(error),
                "Permit the Sentinel's user SENTINEL, and see that a Sentinel runs there.",
            )
            continue
        if address is None:
            found.error(
                "sentinels",
                sentinel.address,
                f"it knows no primary named {master}",
                "Correct sentinel_master to the name in sentinel.conf.",
            )
        else:
            said.setdefault(":".join(part.decode() for part in address), []).append(
                sentinel.address
            )
    if len(said) > 1:
        listed = "; ".join(f"{primary} by {', '.join(by)}" for primary, by in sorted(said.items()))
        found.error(
            "sentinels",
            None,
            f"the Sentinels name different primaries: {listed}",
            "Wait for a failover to end; if they go on to differ, reset those that are wrong "
            "(SENTINEL RESET).",
        )
    if sentinels and not any(sentinel.report.reachable for sentinel in sentinels):
        found.error(
            "sentinels",
            None,
            "no Sentinel serves: the primary cannot be found",
            "Start the Sentinels, or correct connection_string, sentinel_password and "
            "sentinel_ssl.",
        )


def _examine_quorum(sentinel: Server, master: str, found: Findings) -> None:
    try:
        sentinel.ask(b"SENTINEL", b"CKQUORUM", master.encode())
    except ServerError as error:
        if "NOQUORUM" not in str(error):
            raise
        words = wording.error(error)
        found.error(
            "sentinels",
            sentinel.address,
            f"the Sentinels cannot carry out a failover: {words[words.index('NOQUORUM') :]}",
            "Start the Sentinels that are away, or remove those that are gone (SENTINEL RESET).",
        )
    else:
        found.ok("sentinels", sentinel.address, "it has a quorum for a failover")
