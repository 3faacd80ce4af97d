"""The world's views with rows in them, and what requests for them are made of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import FeatureStore

from tests.support.compare import ask
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import NOON, World, write


class Setting:
    """Both stores over one registry, and the rows that are stored."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.server = server
        self.stock = feature_store(STOCK, directory, server.address)
        self.ours = feature_store(OURS, directory, server.address)
        self.world = World(self.stock)

    def apply(self, *definitions: Any) -> None:
        self.stock.apply(list(definitions))
        self.ours.refresh_registry()

    def ask(self, features: Any, rows: Any, **options: Any) -> Any:
        return ask(self.stock, self.ours, features, rows, **options)


def fill(stock: FeatureStore, ours: FeatureStore) -> None:
    """Rows of every view, some written by stock and some by feast-rs."""
    hour = NOON.replace(minute=0)
    stats = [
        {"driver_id": 1, "rate": 0.5, "trips": 7, "city": "Zürich", "tags": ["a", ""]},
        {"driver_id": 2, "rate": None, "trips": None, "city": "", "tags": []},
        {"driver_id": -3, "rate": 1e300, "trips": -(2**63), "since": NOON},
    ]
    write(stock, "driver_stats", stats[:2])
    write(ours, "driver_stats", stats[2:], NOON + timedelta(microseconds=1))
    ident = "5a2f0a4e-6c0f-4d57-8a5a-4f5f0b8f1d11"
    write(ours, "driver_more", [{"driver_id": 1, "trips": 9, "score": 0.1, "ident": ident}])
    write(stock, "driver_more", [{"driver_id": 2, "trips": 0, "score": -0.0}])
    write(stock, "customer", [{"customer_id": "ü", "age": 41, "vip": False, "vector": [0.5, 1.5]}])
    write(ours, "customer", [{"customer_id": "", "age": 0, "vip": True}])
    write(ours, "account", [{"account_id": 5, "balance": 1.25, "driver_id": 77, "photo": b"\xff"}])
    write(stock, "device", [{"device_id": b"\x00\xff", "model": "x", "specs": {"a": [1, None]}}])
    write(ours, "hour", [{"hour_id": hour, "holiday": True}])
    write(stock, "pair", [{"driver_id": 1, "customer_id": "ü", "affinity": 0.25, "meetings": 2}])
    write(ours, "pair", [{"driver_id": 2, "customer_id": "", "affinity": 0.75, "meetings": 0}])
    triple = {"hour_id": hour, "customer_id": "ü", "account_id": 5, "weight": 2.5}
    write(ours, "triple", [triple])
    write(ours, "globals", [{"fee": 2.5, "slogan": "go"}])
    write(stock, "weather", [{"place_id": 1, "celsius": 20.5}, {"place_id": 2, "celsius": -1.0}])
    write(ours, "stored", [{"driver_id": 1, "stored_rate": 5.0}])


HOUR = NOON.replace(minute=0)
# Values of the join keys and of request data: stored, missing, and extreme ones.
POOLS: dict[str, list[Any]] = {
    "driver_id": [1, 2, -3, 4, 0, 2**63 - 1, -(2**63)],
    "customer_id": ["ü", "", "nobody", "\x00", "x" * 70],
    "account_id": [5, 6, -(2**31), 2**31 - 1],
    "device_id": [b"\x00\xff", b"?", b"\x00"],
    "hour_id": [HOUR, NOON - timedelta(days=40_000)],
    "place_id": [1, 2, 3],
    "origin_id": [1, 2, 3],
    "destination_id": [1, 2, 3],
    "bonus": [0, 1, -5],
    "word": ["", "abc", "ß"],
    "unknown": ["x", "y"],
}
VIEW_KEYS = {
    "driver_stats": ["driver_id"],
    "driver_more": ["driver_id"],
    "customer": ["customer_id"],
    "account": ["account_id"],
    "device": ["device_id"],
    "hour": ["hour_id"],
    "pair": ["driver_id", "customer_id"],
    "triple": ["hour_id", "customer_id", "account_id"],
    "globals": [],
    "weather": ["place_id"],
    "boosted": ["driver_id", "bonus", "word"],
    "joined": ["driver_id", "customer_id"],
    "only_request": ["bonus", "word"],
    "request_lengths": ["bonus", "word"],
    "stored": ["driver_id"],
}
FEATURES = {
    "driver_stats": ["rate", "trips", "city", "tags", "since"],
    "driver_more": ["trips", "score", "ident"],
    "customer": ["age", "vip", "vector"],
    "account": ["balance", "driver_id", "photo"],
    "device": ["model", "specs"],
    "hour": ["holiday"],
    "pair": ["affinity", "meetings"],
    "triple": ["weight"],
    "globals": ["fee", "slogan"],
    "weather": ["celsius"],
    "boosted": ["rate_plus", "shout"],
    "joined": ["sum", "cities"],
    "request_lengths": ["length"],
    "stored": ["stored_rate"],
}
REFS = [f"{view}:{feature}" for view, features in FEATURES.items() for feature in features]
SERVICE_KEYS = {
    "ranking": ["driver_id", "customer_id"],
    "aliased": ["driver_id", "customer_id"],
    "trip": ["origin_id", "destination_id", "driver_id"],
    "renamed": ["driver_id", "customer_id", "bonus", "word"],
    "entityless": ["device_id"],
    "computed": ["driver_id", "customer_id", "bonus", "word"],
    "everything": ["driver_id", "customer_id", "bonus", "word"],
}
ON_DEMAND = ("boosted", "joined", "only_request", "request_lengths")
REQUEST_DATA = {"bonus", "word"}
