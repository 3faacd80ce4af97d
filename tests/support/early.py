"""Reads that are large enough for their answers to be begun while the replies come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import FeatureStore

from tests.support.proxy import Proxy, chunks, shut
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import NOON, World, write

ROWS = 1200
STATS = [f"driver_stats:{name}" for name in ("rate", "trips", "city", "tags", "since")]
# Views of three entity keys, one of them with an identifier that Feast's Python makes.
ALL = [*STATS, "driver_more:ident", "driver_more:score", "customer:age", "customer:vector"]
ALL += ["pair:affinity", "globals:slogan"]
# Reads that teach the plan what its answers are used for.
LESSONS = 3


def columns(rows: int = ROWS) -> dict[str, list[Any]]:
    """Entities that come again, some of them missing."""
    return {
        "driver_id": [(row * 7) % 900 for row in range(rows)],
        "customer_id": [f"c{row % 411}" for row in range(rows)],
    }


def fill(directory: Path, address: str) -> None:
    """Apply the world's definitions in a directory, and store rows of them."""
    stock = feature_store(STOCK, directory, address)
    World(stock)
    drivers = [
        {
            "driver_id": n,
            "rate": n / 7,
            "trips": None if n % 5 == 0 else n << 40,
            "city": f"Zürich {n % 13}",
            "tags": [str(n)] * (n % 4),
            "since": NOON + timedelta(seconds=n),
        }
        for n in range(800)
    ]
    write(stock, "driver_stats", drivers)
    write(stock, "driver_more", [{"driver_id": n, "score": n / 3} for n in range(700)])
    customers = [{"customer_id": f"c{n}", "age": n, "vector": [n / 2] * 5} for n in range(400)]
    write(stock, "customer", customers)
    pairs = [{"driver_id": n, "customer_id": f"c{n % 411}", "affinity": n / 9} for n in range(900)]
    write(stock, "pair", pairs)
    write(stock, "globals", [{"slogan": "ja"}])


def read(store: FeatureStore, features: list[str] = ALL, rows: Any = None) -> Any:
    """An answer, to `columns()` unless told otherwise."""
    return store.get_online_features(features, rows or columns())


def early_values(answer: Any) -> int:
    """How many of its values were made while the replies came, and not asked for yet."""
    count: int = answer._answer.early_values
    return count


class HalfWay(Proxy):
    """Ends each connection after so many bytes of replies."""

    def _answer(self, server: Any, client: Any) -> None:
        left = 100_000
        for chunk in chunks(server):
            client.sendall(chunk)
            left -= len(chunk)
            if left < 0:
                break
        shut(client)


def check_defaults_in_an_outage(
    directory: Path, server: RedisServer, rates_of: Callable[[Any], list[float]]
) -> None:
    """Replies that came before it are as stored, the others' values are the defaults.

    `rates_of` takes the column `rate` out of the form of an answer that is begun."""
    settings: dict[str, Any] = {
        "on_error": "defaults",
        "default_values": {"driver_stats:rate": -1.0},
        "request_timeout_ms": 3000,
    }
    rows = {"driver_id": list(range(3000))}
    store = feature_store(OURS, directory, server.address, **settings)
    for _ in range(LESSONS):
        rates_of(read(store, STATS, rows))
    whole = rates_of(read(store, STATS, rows))
    half_way = HalfWay(server.port)
    store = feature_store(OURS, directory, half_way.address, **settings)
    few = {"driver_id": list(range(10))}
    for _ in range(LESSONS):
        rates_of(read(store, STATS, few))
    answer = read(store, STATS, rows)
    assert answer.degraded
    assert early_values(answer) == 0
    rates = rates_of(answer)
    came = rates.index(-1.0)
    assert 100 < came < 2500
    assert rates == whole[:came] + [-1.0] * (3000 - came)
    half_way.close()
