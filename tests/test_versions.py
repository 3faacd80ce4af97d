"""Views whose versions are kept online side by side, projects that share a Redis, and version 2
entity keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService, FeatureStore
from feast.types import Float64, Int64, String

import feast_rs
from tests.support.compare import ask
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, view, write

VERSIONED = {"registry_type": "file", "enable_online_feature_view_versioning": True}


class Versions:
    """A view in three versions, each with rows."""

    def __init__(self, directory: Path, address: str) -> None:
        options: dict[str, Any] = {"registry": VERSIONED}
        self.stock = feature_store(STOCK, directory, address, **options)
        self.ours = feature_store(OURS, directory, address, **options)
        schemas = [{"rate": Float64}, {"rate": Float64, "trips": Int64}, {"rate": String}]
        self.stock.apply([ENTITIES["driver"]])
        for version, schema in enumerate(schemas):
            stats = view("stats", ["driver"], schema)
            parts: list[Any] = [stats]
            if version == 2:
                parts.append(FeatureService(name="latest", features=[stats]))
            self.stock.apply(parts)
            writer = (self.stock, self.ours)[version % 2]
            writer.refresh_registry()
            rate: Any = "high" if version == 2 else version + 0.5
            row = {"driver_id": 1, "rate": rate}
            if version == 1:
                row["trips"] = 11
            write(writer, "stats", [row])
        self.ours.refresh_registry()


@pytest.fixture(scope="module")
def versions(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(tmp_path_factory.mktemp("versions"), module_server.address)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["stats:rate"], ["high"]),
        (["stats@latest:rate"], ["high"]),
        (["stats@v0:rate"], [0.5]),
        (["stats@v1:rate", "stats@v1:trips"], [1.5]),
        (["stats@v2:rate"], ["high"]),
    ],
)
@pytest.mark.parametrize("full_feature_names", [False, True])
def test_a_version_by_its_number(
    versions: Versions, features: list[str], expected: list[Any], full_feature_names: bool
) -> None:
    rows = [{"driver_id": 1}, {"driver_id": 2}]
    answer = ask(
        versions.stock,
        versions.ours,
        features,
        rows,
        full_feature_names=full_feature_names,
        include_feature_view_version_metadata=True,
    )
    name = f"{features[0].partition(':')[0]}__rate" if full_feature_names else "rate"
    if name in answer.to_dict():
        assert answer.to_dict()[name] == [*expected, None]


def test_versions_side_by_side(versions: Versions) -> None:
    features = ["stats@v1:rate", "stats:rate", "stats@v0:rate", "stats@v1:trips"]
    answer = ask(
        versions.stock,
        versions.ours,
        features,
        [{"driver_id": 1}],
        full_feature_names=True,
        include_feature_view_version_metadata=True,
    )
    assert answer.to_dict() == {
        "driver_id": [1],
        "stats@v1__rate": [1.5],
        "stats@v1__trips": [11],
        "stats__rate": ["high"],
        "stats@v0__rate": [0.5],
    }


def test_a_service_over_versions(versions: Versions) -> None:
    service = versions.stock.get_feature_service("latest")
    answer = ask(versions.stock, versions.ours, service, [{"driver_id": 1}])
    # Stock loses the view's version on the way through a service's projection, and reads the
    # first one's rows.
    assert answer.to_dict() == {"driver_id": [1], "rate": [0.5]}


@pytest.mark.parametrize("features", [["stats@v9:rate"], ["stats@v0:trips"]])
def test_a_version_or_feature_that_there_is_not(versions: Versions, features: list[str]) -> None:
    with pytest.raises(Exception, match=r"stats|trips"):
        ask(versions.stock, versions.ours, features, [{"driver_id": 1}])


def test_without_versioning_a_version_is_refused(server: RedisServer, tmp_path: Path) -> None:
    stores = [feature_store(kind, tmp_path, server.address) for kind in (STOCK, OURS)]
    stores[0].apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    with pytest.raises(ValueError, match="online versioning is disabled"):
        ask(stores[0], stores[1], ["stats@v1:rate"], [{"driver_id": 1}])


def two_projects(directory: Path, address: str, **options: Any) -> dict[str, list[FeatureStore]]:
    stores = {}
    for project in ("proj", "my_proj"):
        pair = [
            feature_store(kind, directory / project, address, project, **options)
            for kind in (STOCK, OURS)
        ]
        (directory / project).mkdir(exist_ok=True)
        pair[0].apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
        stores[project] = pair
    return stores


def test_projects_do_not_see_each_others_rows(server: RedisServer, tmp_path: Path) -> None:
    stores = two_projects(tmp_path, server.address)
    write(stores["proj"][1], "stats", [{"driver_id": 1, "rate": 1.0}])
    write(stores["my_proj"][0], "stats", [{"driver_id": 1, "rate": 2.0}])
    for project, rate in (("proj", 1.0), ("my_proj", 2.0)):
        answer = ask(*stores[project], ["stats:rate"], [{"driver_id": 1}])
        assert answer.to_dict()["rate"] == [rate]


@pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning")
def test_version_2_keys(server: RedisServer, tmp_path: Path) -> None:
    stores = two_projects(tmp_path, server.address, key_version=2)
    stock, ours = stores["proj"]
    write(stock, "stats", [{"driver_id": 1, "rate": 1.0}])
    write(ours, "stats", [{"driver_id": 2, "rate": 2.0}])
    answer = ask(stock, ours, ["stats:rate"], [{"driver_id": driver} for driver in (1, 2, 3)])
    assert answer.to_dict()["rate"] == [1.0, 2.0, None]


def test_a_registry_that_changes_changes_the_answer(server: RedisServer, tmp_path: Path) -> None:
    """A plan is kept only as long as the registry is the same."""
    stores = [feature_store(kind, tmp_path, server.address) for kind in (STOCK, OURS)]
    stock, ours = stores
    stock.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    write(stock, "stats", [{"driver_id": 1, "rate": 1.0}])
    for _ in range(2):
        assert ask(*stores, ["stats:rate"], [{"driver_id": 1}]).to_dict()["rate"] == [1.0]
    with pytest.raises(Exception, match="trips"):
        ask(*stores, ["stats:trips"], [{"driver_id": 1}])
    stock.apply([view("stats", ["driver"], {"rate": String, "trips": Int64})])
    ours.refresh_registry()
    # Absent in the rows that are stored, like any feature that a view gets later.
    answer = ask(*stores, ["stats:trips", "stats:rate"], [{"driver_id": 1}])
    assert answer.to_dict() in (
        {"driver_id": [1], "trips": [None], "rate": [1.0]},
        {"driver_id": [1], "rate": [1.0], "trips": [None]},
    )
    # The declared type is the new one, which the stored number does not have.
    for features in (["stats:trips", "stats:rate"], ["stats:rate"]):
        answer = ask(*stores, features, [{"driver_id": 1}])
        with pytest.raises(feast_rs.DecodeError, match=r"stats:rate.*driver_id=1"):
            answer.to_arrow()


def test_a_registry_whose_cache_expires(server: RedisServer, tmp_path: Path) -> None:
    """What another process applies is seen when the cache's time is over, without a refresh."""
    registry = {"registry_type": "file", "cache_ttl_seconds": 1}
    stock = feature_store(STOCK, tmp_path, server.address)
    stock.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    ours = feature_store(OURS, tmp_path, server.address, registry=registry)
    rows = [{"driver_id": 1}]
    for _ in range(3):
        assert ours.get_online_features(["stats:rate"], rows).to_dict()["rate"] == [None]
    stock.apply([view("stats", ["driver"], {"rate": Float64, "trips": Int64})])
    write(stock, "stats", [{"driver_id": 1, "rate": 0.5, "trips": 3}])
    time.sleep(1.1)
    answer = ours.get_online_features(["stats:rate", "stats:trips"], rows)
    assert answer.to_dict() == {"driver_id": [1], "rate": [0.5], "trips": [3]}
