"""The stores that are compared: stock Feast with each of its clients, and the one under test."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from feast import FeatureStore
from feast.online_response import OnlineResponse

from .measure import differences
from .repository import Repository
from .shapes import Group

STOCK = "stock redis-py"
GLIDE = "stock glide"
OURS = "feast_rs.RedisOnlineStore"

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Stores:
    """Feature stores by name, all over one registry."""

    stock: dict[str, FeatureStore]
    ours: FeatureStore
    ours_for_arrow: FeatureStore
    """Another of ours: what answers become is learned, and a service has them become one thing."""
    label: str
    notes: tuple[str, ...]

    @classmethod
    def build(cls, repository: Repository, store_type: str) -> Stores:
        """Open stock's clients, as far as they are installed, and the store under test."""
        notes: list[str] = []
        stock = {STOCK: repository.stock}
        if find_spec("hiredis") is None:
            notes.append("hiredis is not installed: redis-py parses replies in Python")
        if find_spec("glide_sync") is not None:
            # Without a time-out of its own GLIDE gives up after 250 ms, before Redis is done.
            stock[GLIDE] = repository.open(
                {
                    "type": "redis",
                    "client": "glide",
                    "connection_string": f"{repository.server.address},socket_timeout=60",
                }
            )
        else:
            notes.append("client: glide is not measured: pip install 'feast[glide]'")
        try:
            ours, for_arrow = (repository.open({"type": store_type}) for _ in range(2))
            _ = ours.config.online_store
        except Exception as error:
            raise SystemExit(f"The store {store_type} cannot be opened: {error}") from error
        # To try the benchmarks themselves, stock may stand in for the store under test.
        is_ours = store_type.startswith("feast_rs.")
        label = "feast-rs" if is_ours else f"({store_type})"
        return cls(stock, ours, for_arrow, label, tuple(notes))


def entity_rows(group: Group, numbers: Sequence[int]) -> Rows:
    """Entity rows as a service builds them: one dict per entity."""
    return [{group.join_key: number} for number in numbers]


def read(store: FeatureStore, refs: list[str], rows: Any) -> OnlineResponse:
    """The call that all of this is about."""
    return store.get_online_features(features=refs, entity_rows=rows)


def arrow_values(table: Any) -> dict[str, list[Any]]:
    """A table's values as Python's, by column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values: dict[str, list[Any]] = table.to_pydict()
    return values


def check_answers(stores: Stores, refs: list[str], rows: Any) -> dict[str, list[Any]]:
    """Stop unless all stores answer the same, as dict and as Arrow; returns stock's answer."""
    expected = read(stores.stock[STOCK], refs, rows).to_dict()
    answers = {name: read(store, refs, rows).to_dict() for name, store in stores.stock.items()}
    answers[stores.label] = read(stores.ours, refs, rows).to_dict()
    for name, answer in answers.items():
        wrong = differences(expected, answer)
        if wrong:
            raise SystemExit(f"{name} answers otherwise than {STOCK}: {wrong}")
    # Arrow's types are declared, stock's inferred: the values must agree all the same.
    table = read(stores.ours_for_arrow, refs, rows).to_arrow()
    wrong = differences(expected, arrow_values(table), types=False)
    if wrong:
        raise SystemExit(f"{stores.label} to_arrow differs from {STOCK}: {wrong}")
    return expected
