"""Feature services whose vectors are computed ahead, by either store, for either."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from feast import FeatureService, FeatureStore

from tests.support.compare import ask, assert_same
from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import World, row, views, write

Stores = tuple[FeatureStore, FeatureStore]

# Vectors are made of rows within their views' time to live, which real time decides.
NOW = datetime.now(timezone.utc).replace(microsecond=0)


@pytest.fixture(scope="module")
def stores(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    directory = tmp_path_factory.mktemp("precomputed")
    stock = feature_store(STOCK, directory, module_server.address)
    ours = feature_store(OURS, directory, module_server.address)
    by_name = views()
    vectors = FeatureService(
        name="vectors",
        features=[by_name["driver_stats"], by_name["driver_more"][["score", "ident"]]],
        precompute_online=True,
    )
    World(stock, [vectors])
    return stock, ours


WITH_VERSIONS = {"include_feature_view_version_metadata": True}


def fill(store: FeatureStore) -> None:
    client_of(store).flushall()
    rows = [{"driver_id": 1, "rate": 0.5, "city": "x", "tags": ["a"]}, {"driver_id": 2, "trips": 3}]
    write(store, "driver_stats", rows, NOW)
    write(store, "driver_more", [{"driver_id": 1, "score": 1.5}], NOW)


@pytest.mark.parametrize("writer", [0, 1], ids=["stock", "feast_rs"])
@pytest.mark.parametrize("full_feature_names", [False, True])
def test_vectors_of_either_store_are_read_by_both(
    stores: Stores, writer: int, full_feature_names: bool
) -> None:
    fill(stores[writer])
    assert stores[writer].precompute_feature_service("vectors") == 2
    service = stores[0].get_feature_service("vectors")
    assert service.precompute_online
    rows = [{"driver_id": driver} for driver in (2, 1, 2)]
    if full_feature_names:
        answer = ask(*stores, service, rows, full_feature_names=True)
        assert answer.to_dict()["driver_stats__trips"] == [3, None, 3]
        ask(*stores, service, rows, full_feature_names=True, **WITH_VERSIONS)
    else:
        # Vectors have full names, and stock compares them with the request's.
        with pytest.raises(RuntimeError, match="could not be read"):
            ask(*stores, service, rows)


def test_the_same_vectors_are_written(stores: Stores) -> None:
    stock, ours = stores
    written = []
    for store in (stock, ours):
        fill(stock)
        store.precompute_feature_service("vectors")
        client = client_of(store)
        written.append({key: sorted(client.hkeys(key)) for key in client.scan_iter()})
    assert written[0] == written[1]


def test_a_missing_vector_is_an_error(stores: Stores) -> None:
    fill(stores[1])
    service = stores[0].get_feature_service("vectors")
    with pytest.raises(RuntimeError, match="pre-computed vectors could not be read"):
        ask(*stores, service, [{"driver_id": 1}], full_feature_names=True)


def test_the_stores_own_verbs(stores: Stores) -> None:
    stock, ours = stores
    fill(stock)
    ours.precompute_feature_service("vectors")
    table = stock.get_feature_view("driver_stats")
    keys = [row(table, {"driver_id": driver})[0] for driver in (1, 9, 2)]
    read = [
        store._get_provider().online_store.read_precomputed_vectors(
            store.config, "vectors", "proj", keys
        )
        for store in stores
    ]
    assert_same(*read)
    assert [vector is None for vector in read[0]] == [False, True, False]


def test_an_outdated_row_of_a_vector(stores: Stores) -> None:
    fill(stores[0])
    write(stores[1], "driver_stats", [{"driver_id": 3, "rate": 1.0}], NOW - timedelta(days=3))
    stores[1].precompute_feature_service("vectors")
    service = stores[0].get_feature_service("vectors")
    rows = [{"driver_id": 3}, {"driver_id": 1}]
    answer = ask(*stores, service, rows, full_feature_names=True)
    assert answer.to_dict()["driver_stats__rate"] == [1.0, 0.5]
    assert answer.statuses["driver_stats__rate"].tolist() == [4, 1]
