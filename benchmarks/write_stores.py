"""Feature stores that write the same view to the same Redis, each with a registry of its own."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.types import Int64
from feast.value_type import ValueType

from .write_tables import END, KEY, START, TIME, WriteTable

VIEW, PUSH = "written", "pushed"
STOCK_STORE: dict[str, Any] = {"online_store": {"type": "redis"}}
OUR_STORE: dict[str, Any] = {
    "online_store": {"type": "feast_rs.RedisOnlineStore"},
    "batch_engine": {"type": "feast_rs.StreamingComputeEngine"},
    "provider": "feast_rs.ArrowProvider",
    "registry": {"registry_store_type": "feast_rs.FileRegistryStore"},
}


def open_store(
    kind: dict[str, Any], address: str, directory: Path, table: WriteTable, path: Path, **more: Any
) -> FeatureStore:
    """A feature store with one view of `table` over the Parquet file at `path`; the project is the
    same for all, so that what they store can be compared."""
    directory.mkdir(parents=True, exist_ok=True)
    online_store = {**kind["online_store"], "connection_string": address, **more}
    registry = {
        "path": str(directory / "registry.db"),
        "registry_type": "file",
        **kind.get("registry", {}),
    }
    config = {"provider": "local", **kind, "online_store": online_store, "registry": registry}
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            entity_key_serialization_version=3,
            offline_store={"type": "file"},
            **config,
        )
    )
    entity = Entity(name="driver", join_keys=[KEY], value_type=ValueType.INT64)
    source = PushSource(
        name=PUSH, batch_source=FileSource(name="file", path=str(path), timestamp_field=TIME)
    )
    schema = [Field(name=KEY, dtype=Int64)]
    schema += [Field(name=name, dtype=dtype) for name, dtype in table.features.items()]
    view = FeatureView(
        name=VIEW, entities=[entity], ttl=timedelta(days=60), schema=schema, source=source
    )
    with redirect_stdout(StringIO()):
        store.apply([entity, source, view])
    return store


def materialize(store: FeatureStore) -> None:
    """What an hourly task calls, without its progress bar."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        store.materialize(START, END, feature_views=[VIEW])
