"""`registry_store_type: feast_rs.FileRegistryStore`: an unchanged file is no new registry."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.infra.registry import file
from feast.types import Float64, Int64
from feast.value_type import ValueType

from tests.support.server import RedisServer
from tests.support.stores import OURS

STORE_TYPE = "feast_rs.FileRegistryStore"
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)


def definitions(directory: Path, *features: str) -> list[Any]:
    batch = FileSource(name="batch", path=str(directory / "x.parquet"), timestamp_field="ts")
    source = PushSource(name="events", batch_source=batch)
    fields = [Field(name=name, dtype=Float64) for name in features]
    schema = [Field(name="driver_id", dtype=Int64), *fields]
    pushed = FeatureView(
        name="pushed", entities=[DRIVER], ttl=timedelta(days=1), schema=schema, source=source
    )
    return [DRIVER, source, pushed]


def open_store(
    directory: Path, address: str = "localhost:1", store_type: str | None = STORE_TYPE
) -> FeatureStore:
    registry: dict[str, Any] = {"path": str(directory / "registry.db"), "cache_ttl_seconds": 600}
    if store_type:
        registry["registry_store_type"] = store_type
    config: dict[str, Any] = {
        "project": "proj",
        "provider": "feast_rs.ArrowProvider",
        "registry": registry,
        "entity_key_serialization_version": 3,
        "offline_store": {"type": "file"},
        "online_store": {"type": OURS, "connection_string": address},
    }
    return FeatureStore(config=RepoConfig(**config))


def rows(rate: float, second: int) -> pd.DataFrame:
    moment = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=second)
    return pd.DataFrame({"driver_id": [1, 2], "rate": [rate, -rate], "ts": [moment] * 2})


def test_pushes_do_not_make_the_views_anew(server: RedisServer, tmp_path: Path) -> None:
    made: dict[str | None, set[int]] = {}
    for first, store_type in enumerate((None, STORE_TYPE)):
        directory = tmp_path / str(store_type)
        directory.mkdir()
        store = open_store(directory, server.address, store_type)
        store.apply(definitions(directory, "rate"))
        seen = []
        for second in range(3 * first, 3 * first + 3):
            store.push("events", rows(second + 0.5, second))
            seen.append(store.list_feature_views(allow_cache=True)[0])
            answer = store.get_online_features(["pushed:rate"], {"driver_id": [1, 2]}).to_dict()
            assert answer["rate"] == [second + 0.5, -second - 0.5]
        made[store_type] = {id(view) for view in seen}
    assert len(made[None]) == 3
    assert len(made[STORE_TYPE]) == 1


def test_a_file_that_has_changed_is_seen(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path, store_type=None)
    store.apply(definitions(tmp_path, "rate"))
    assert [f.name for f in store.get_feature_view("pushed").features] == ["rate"]
    other.apply(definitions(tmp_path, "rate", "trips"))
    assert [f.name for f in store.get_feature_view("pushed").features] == ["rate", "trips"]
    before = store.registry._get_registry_proto("proj")
    assert store.registry._get_registry_proto("proj") is before
    store.apply(definitions(tmp_path, "trips"))
    assert [f.name for f in other.get_feature_view("pushed").features] == ["trips"]
    assert [f.name for f in store.get_feature_view("pushed").features] == ["trips"]


@pytest.mark.parametrize("store_type", [None, STORE_TYPE])
def test_what_was_not_committed_is_not_in_the_file(tmp_path: Path, store_type: str | None) -> None:
    store = open_store(tmp_path, store_type=store_type)
    store.apply(definitions(tmp_path, "rate"))
    registry = store.registry
    registry.list_entities("proj")
    extra = Entity(name="extra", join_keys=["extra_id"], value_type=ValueType.INT64)
    registry.apply_entity(extra, "proj", commit=False)
    changed = registry.cached_registry_proto
    assert "extra" in {entity.spec.name for entity in changed.entities}
    assert "extra" not in {entity.name for entity in registry.list_entities("proj")}
    registry.apply_entity(extra, "proj")
    assert "extra" in {entity.name for entity in registry.list_entities("proj")}
    assert "extra" in {entity.name for entity in open_store(tmp_path).list_entities()}


def test_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(definitions(tmp_path, "rate"))
    (tmp_path / "registry.db").unlink()
    with pytest.raises(FileNotFoundError, match="feast apply"):
        store.list_entities()


def test_it_is_feasts_own_file(tmp_path: Path) -> None:
    import feast_rs

    assert issubclass(feast_rs.FileRegistryStore, file.FileRegistryStore)
    open_store(tmp_path).apply(definitions(tmp_path, "rate"))
    names = [view.name for view in open_store(tmp_path, store_type=None).list_feature_views()]
    assert names == ["pushed"]
