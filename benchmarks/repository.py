"""The Feast repository that is read, and its rows, written straight to Redis in Feast's layout.

Stock Feast reads every row back before anything is measured, so the layout here is Feast's own
or the run stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import mmh3
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Int64
from google.protobuf.timestamp_pb2 import Timestamp

from .cluster import Cluster
from .measure import differences
from .server import Server
from .shapes import EVENT_TIME, GROUPS, Column, Group

PROJECT = "bench"
_BATCH = 200


def entity_key(group: Group, number: int) -> bytes:
    """The Redis key of an entity."""
    key = EntityKey(join_keys=[group.join_key], entity_values=[Value(int64_val=number)])
    return serialize_entity_key(key, entity_key_serialization_version=3) + PROJECT.encode()


def hash_field(view: str, feature: str) -> bytes:
    """The field of a feature in its entity's hash."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def stock_fields(refs: Sequence[str]) -> list[list[bytes]]:
    """Per view, the fields that stock asks for: its features and the view's timestamp."""
    views: dict[str, list[bytes]] = {}
    for ref in refs:
        view, feature = ref.split(":")
        views.setdefault(view, []).append(hash_field(view, feature))
    return [[*fields, f"_ts:{view}".encode()] for view, fields in views.items()]


def _write(server: Server | Cluster, group: Group, values: dict[str, dict[str, Column]]) -> None:
    """Write all rows of a group: one HSET per entity and view, as materialization does."""
    stamp = Timestamp()
    stamp.FromDatetime(EVENT_TIME)
    keys = [entity_key(group, number) for number in range(group.entities)]
    pipe = server.client.pipeline(transaction=False)
    for view, features in group.views.items():
        fields = [hash_field(view, name) for name in features]
        columns = [
            [
                proto.SerializeToString()
                for proto in python_values_to_proto_values(
                    values[view][name], dtype.to_value_type()
                )
            ]
            for name, dtype in features.items()
        ]
        for row, cells in enumerate(zip(*columns, strict=True)):
            mapping: dict[Any, bytes] = {f"_ts:{view}": stamp.SerializeToString()}
            mapping.update(zip(fields, cells, strict=True))
            pipe.hset(keys[row], mapping=mapping)
            if len(pipe) >= _BATCH:
                pipe.execute()
    pipe.execute()


def _definitions(directory: Path) -> list[Any]:
    objects: list[Any] = []
    for group in GROUPS:
        entity = Entity(name=group.name, join_keys=[group.join_key], value_type=ValueType.INT64)
        objects.append(entity)
        for view, features in group.views.items():
            source = FileSource(
                name=f"{view}_source",
                path=str(directory / f"{view}.parquet"),
                timestamp_field="event_timestamp",
            )
            schema = [Field(name=group.join_key, dtype=Int64)]
            schema += [Field(name=name, dtype=dtype) for name, dtype in features.items()]
            objects.append(
                FeatureView(
                    name=view,
                    entities=[entity],
                    schema=schema,
                    source=source,
                    ttl=timedelta(days=365),
                )
            )
    return objects


def open_store(directory: Path, online_store: dict[str, Any]) -> FeatureStore:
    """A feature store over the registry in `directory`, with a registry object of its own."""
    return FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(directory / "registry.db"),
            online_store=online_store,
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )


class Repository:
    """One registry, and any number of feature stores over it that read one deployment."""

    stock: FeatureStore

    def __init__(
        self, server: Server | Cluster, directory: Path, beside: Repository | None = None
    ) -> None:
        """`beside` is a repository of another deployment, whose registry this one has too."""
        self.server = server
        self.directory = directory
        self._registry = None if beside is None else beside.stock.registry
        self.stock = self.open({"type": "redis"})
        if beside is None:
            self.stock.apply(_definitions(directory))
            self.stock.refresh_registry()  # type: ignore[no-untyped-call]
            self._registry = self.stock.registry

    def open(self, online_store: dict[str, Any]) -> FeatureStore:
        """A feature store with this online store, sharing the first one's registry object.

        Feast keeps one cache of resolved feature lists in a process and drops it whenever
        another registry object asks: stores with registries of their own, read in turn, would
        each pay some 10 ms a call that no deployment pays.
        """
        store = open_store(self.directory, {**self.server.settings, **online_store})
        if self._registry is not None:
            store._registry = self._registry
        return store

    def fill(self, group: Group) -> None:
        """Write a group's rows, and see that stock Feast reads all of them as they were made."""
        values = group.values()
        _write(self.server, group, values)
        numbers = list(range(group.entities))
        answer = self.stock.get_online_features(
            features=group.refs(), entity_rows=[{group.join_key: n} for n in numbers]
        ).to_dict()
        made = {name: column for view in values.values() for name, column in view.items()}
        wrong = differences({group.join_key: numbers, **made}, answer)
        if wrong:
            raise SystemExit(f"The rows of {group.name} were not written as Feast does: {wrong}")
