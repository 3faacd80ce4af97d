"""The figures of deployments as Markdown."""

from __future__ import annotations

from .deployments import Deployments, TlsResult
from .hedging import BUSY_EVERY, BUSY_MS, PERCENTILE, HedgingResult
from .latency import Latency
from .outage import BACK_SECONDS, LIMIT_MS, OVER_LIMIT_MS, TIMES_BEFORE, OutageResult
from .tables import milliseconds, table, verdict


def missed_deployments(found: Deployments) -> list[str]:
    """The bars that were not reached."""
    missed = [
        f"cluster, {one.label}: {one.faster:.1f} times stock"
        for one in found.cluster
        if one.bar is not None and one.faster < one.bar
    ]
    if found.outage is not None:
        passed = found.outage.passed
        missed += [f"one of three nodes stopped: {name}" for name in passed if not passed[name]]
    for tls in found.tls:
        missed += [
            f"TLS, {tls.label}: {over:.2f} of plain, {form}"
            for form, over in tls.over_plain.items()
            if tls.bar is not None and over > tls.bar
        ]
    return missed


def deployment_sections(found: Deployments) -> list[str]:
    """The sections of what was measured."""
    parts = []
    if found.cluster:
        parts += ["## A cluster of three primaries", _cluster(found)]
    if found.outage is not None:
        parts += ["## One of three nodes stopped, 10 x 50", _outage(found.outage)]
    if found.tls:
        parts += ["## TLS", _tls(found.tls)]
    if found.hedging is not None:
        parts += ["## Hedged reads, 10 x 50", _hedging(found.hedging)]
    return parts


def _cluster(found: Deployments) -> str:
    rows = [
        (
            one.label,
            *(milliseconds(one.seconds[name]) for name in one.seconds),
            f"{one.faster:.1f}"
            if one.bar is None
            else verdict(f"{one.faster:.1f}", one.faster >= one.bar, f"{one.bar:g}"),
            f"{one.over_alone:.2f}",
        )
        for one in found.cluster
    ]
    heads = [f"{name}, ms" for name in found.cluster[0].seconds]
    more = ["times faster than stock", "its time over one server's"]
    return table(["entities x features", *heads, *more], rows)


def _outage(found: OutageResult) -> str:
    passed = found.passed
    limit = f"{LIMIT_MS + OVER_LIMIT_MS} ms"
    times = f"{TIMES_BEFORE:g} times before"

    def row(
        name: str, latency: Latency, middle: str = "", late: str = "", bar: str = ""
    ) -> tuple[str, ...]:
        cells = [milliseconds(latency.median), milliseconds(latency.p99)]
        for at, judged in enumerate((middle, late)):
            if judged:
                cells[at] = verdict(cells[at], passed[judged], bar)
        return (name, str(latency.calls), *cells, milliseconds(latency.longest))

    rows = [
        row("any keys, before", found.before),
        row("any keys, first second", found.first_second, late="first_second", bar=limit),
        row("any keys, from the third second", found.later),
        row("any keys, all of the time", found.stopped, late="stopped", bar=limit),
        row("keys of the others, before", found.others_before),
        row("keys of the others, during", found.others, "others_median", "others_p99", times),
    ]
    text = table(("reads", "calls", "median, ms", "p99, ms", "longest, ms"), rows)
    back = verdict(f"{found.back:.1f} s", passed["back"], f"{BACK_SECONDS:g} s")
    words = f"`request_timeout_ms: {LIMIT_MS}`, `on_error: defaults`, `breaker: true`. "
    words += f"When the node went on, its keys had default values for {back} at the longest. "
    words += f"{found.defaults:,} rows had default values, all of them the stopped node's; "
    words += f"all {found.values_checked:,} values and statuses were checked."
    return f"{text}\n\n{words}"


def _tls(found: list[TlsResult]) -> str:
    rows = []
    for one in found:
        cells = [
            f"{over:.2f}"
            if one.bar is None
            else verdict(f"{over:.2f}", over <= one.bar, f"{one.bar:g}")
            for over in one.over_plain.values()
        ]
        rows.append((one.label, *(milliseconds(s) for s in one.seconds.values()), *cells))
    heads = [f"{name}, ms" for name in found[0].seconds]
    ratios = [f"{form}, over plain" for form in found[0].over_plain]
    return table(["entities x features", *heads, *ratios], rows)


def _hedging(found: HedgingResult) -> str:
    rows = [
        (
            name,
            str(latency.calls),
            *(milliseconds(s) for s in (latency.median, latency.p99, latency.longest)),
            added,
        )
        for name, latency, added in (
            ("no", found.plain, "none"),
            (f"`hedge_percentile: {PERCENTILE}`", found.hedged, f"{found.added_share:.1%}"),
        )
    ]
    heads = ("hedged", "calls", "median, ms", "p99, ms", "longest, ms", "added load")
    words = f"One read in {BUSY_EVERY} finds the primary busy for {BUSY_MS} ms. The added load is "
    words += "the hashes that the replica was asked for, of those that all reads were for."
    return f"{table(heads, rows)}\n\n{words}"
