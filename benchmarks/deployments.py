"""Other deployments than one server: a cluster, a node that is stopped, TLS, hedged reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feast import FeatureStore

from .cluster import private_cluster
from .hedging import HedgingResult, measure_hedging
from .measure import Timed, differences, race
from .outage import OutageResult, measure_outage
from .reads import requests_of
from .repository import Repository
from .shapes import BARS, FIVE_VIEWS, Shape
from .stores import OURS, Stores, arrow_values, check_answers, entity_rows, read
from .tls import server_with_tls

SHAPES = {shape.rows: shape for shape in BARS if shape.group is FIVE_VIEWS}
CLUSTER_BARS = {100: 25.0}
TLS_ROWS = (100, 1000)
TLS_BARS = {1000: 1.5}
CLUSTERED, ALONE = "feast-rs to_dict", "feast-rs to_dict, one server"
FORMS = ("to_dict", "to_arrow")


@dataclass(frozen=True)
class Raced:
    """Median seconds of a read of so many rows, by contestant."""

    label: str
    rows: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class ClusterResult(Raced):
    """Reads from three primaries, beside ours from one server."""

    stock: str
    bar: float | None

    @property
    def faster(self) -> float:
        """Times the faster of stock's clients."""
        return self.seconds[self.stock] / self.seconds[CLUSTERED]

    @property
    def over_alone(self) -> float:
        """The time over that of one server with the same rows."""
        return self.seconds[CLUSTERED] / self.seconds[ALONE]


@dataclass(frozen=True)
class TlsResult(Raced):
    """Reads over TLS and plain, from one server."""

    bar: float | None

    @property
    def over_plain(self) -> dict[str, float]:
        """The time over TLS, of that without, by the form of the answer."""
        return {
            form: self.seconds[f"TLS, {form}"] / self.seconds[f"plain, {form}"] for form in FORMS
        }


@dataclass
class Deployments:
    """What was measured of all deployments; what was left out stays empty."""

    cluster: list[ClusterResult] = field(default_factory=list)
    outage: OutageResult | None = None
    tls: list[TlsResult] = field(default_factory=list)
    hedging: HedgingResult | None = None


def _reader(
    store: FeatureStore, shape: Shape, requests: list[Any], form: str = "to_dict"
) -> Callable[[int], object]:
    count = len(requests)
    return lambda number: getattr(read(store, shape.refs, requests[number % count]), form)()


def _measure_cluster(
    stores: Stores, alone: FeatureStore, shape: Shape, budget: float
) -> ClusterResult:
    requests = [entity_rows(shape.group, numbers) for numbers in requests_of(shape)]
    for rows in requests:
        expected = check_answers(stores, shape.refs, rows)
        _expect(expected, read(alone, shape.refs, rows).to_dict(), ALONE)
    contestants = [
        *(Timed(name, _reader(store, shape, requests)) for name, store in stores.stock.items()),
        Timed(CLUSTERED, _reader(stores.ours, shape, requests)),
        Timed("feast-rs to_arrow", _reader(stores.ours_for_arrow, shape, requests, "to_arrow")),
        Timed(ALONE, _reader(alone, shape, requests)),
    ]
    seconds = {one.name: one.seconds for one in race(contestants, budget)}
    stock = min(stores.stock, key=lambda name: seconds[name])
    return ClusterResult(shape.label, shape.rows, seconds, stock, CLUSTER_BARS.get(shape.rows))


def _measure_tls(
    stock: FeatureStore, ours: dict[str, FeatureStore], shape: Shape, budget: float
) -> TlsResult:
    requests = [entity_rows(shape.group, numbers) for numbers in requests_of(shape)]
    for rows in requests:
        expected = read(stock, shape.refs, rows).to_dict()
        for name, store in ours.items():
            answer = read(store, shape.refs, rows)
            _expect(expected, answer.to_dict(), name)
            _expect(expected, arrow_values(answer.to_arrow()), name, types=False)
    contestants = [
        Timed(f"{name}, {form}", _reader(store, shape, requests, form))
        for form in FORMS
        for name, store in ours.items()
    ]
    seconds = {one.name: one.seconds for one in race(contestants, budget)}
    return TlsResult(shape.label, shape.rows, seconds, TLS_BARS.get(shape.rows))


def _expect(
    expected: dict[str, Any], answer: dict[str, Any], name: str, types: bool = True
) -> None:
    wrong = differences(expected, answer, types)
    if wrong:
        raise SystemExit(f"{name} answers otherwise than stock: {wrong}")


def measure_deployments(directory: Path, quick: bool, say: Callable[[str], None]) -> Deployments:
    """All of it, each with servers of its own; `directory` is for the registry."""
    found = Deployments()
    budget = 1.0 if quick else 8.0
    with server_with_tls(directory) as (server, over_tls):
        one = Repository(server, directory)
        one.fill(FIVE_VIEWS)
        plain = one.open({"type": OURS})
        with private_cluster() as cluster:
            shared = Repository(cluster, directory, beside=one)
            shared.fill(FIVE_VIEWS)
            stores = Stores.build(shared, OURS)
            for shape in SHAPES.values():
                result = _measure_cluster(stores, plain, shape, budget)
                found.cluster.append(result)
                say(f"  cluster, {shape.label}: {result.faster:.1f} times {result.stock}")
            found.outage = measure_outage(shared, cluster, quick)
            say(f"  one node stopped: p99 {1e3 * found.outage.stopped.p99:.1f} ms")
        for rows in TLS_ROWS if over_tls else ():
            pair = {"plain": plain, "TLS": one.open({"type": OURS, **over_tls})}
            tls = _measure_tls(one.stock, pair, SHAPES[rows], budget)
            found.tls.append(tls)
            say(f"  TLS, {tls.label}: {tls.over_plain['to_dict']:.2f} of plain")
        found.hedging = measure_hedging(one, server, quick)
        say(f"  hedged: p99 {1e3 * found.hedging.hedged.p99:.1f} ms")
    return found
