"""A registry with one of everything: join keys of each type, views that share them, on-demand
views and services."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    String,
    UnixTimestamp,
    Uuid,
)

# A day of whole seconds, so that ages are plain.
NOON = datetime(2024, 5, 17, 12, 0, 0, tzinfo=timezone.utc)

ENTITIES = {
    "driver": Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64),
    "customer": Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING),
    "account": Entity(name="account", join_keys=["account_id"], value_type=ValueType.INT32),
    "device": Entity(name="device", join_keys=["device_id"], value_type=ValueType.BYTES),
    "hour": Entity(name="hour", join_keys=["hour_id"], value_type=ValueType.UNIX_TIMESTAMP),
    "place": Entity(name="place", join_keys=["place_id"], value_type=ValueType.INT64),
}
KEY_TYPES = {
    "driver_id": Int64,
    "customer_id": String,
    "account_id": Int32,
    "device_id": Bytes,
    "hour_id": UnixTimestamp,
    "place_id": Int64,
}


def source(name: str) -> FileSource:
    """A source that nobody reads."""
    return FileSource(
        name=f"{name}_source", path=f"/nonexistent/{name}.parquet", timestamp_field="ts"
    )


def view(
    name: str,
    entities: Sequence[str],
    features: Mapping[str, Any],
    ttl: timedelta | None = timedelta(0),
    **options: Any,
) -> FeatureView:
    """A feature view over entities of the world."""
    chosen = [ENTITIES[entity] for entity in entities]
    keys = [Field(name=e.join_key, dtype=KEY_TYPES[e.join_key]) for e in chosen]
    return FeatureView(
        name=name,
        entities=chosen,
        ttl=ttl,
        schema=keys + [Field(name=feature, dtype=dtype) for feature, dtype in features.items()],
        source=source(name),
        **options,
    )


def views() -> dict[str, FeatureView]:
    """The feature views by name."""
    listed = [
        view(
            "driver_stats",
            ["driver"],
            {
                "rate": Float64,
                "trips": Int64,
                "city": String,
                "tags": Array(String),
                "since": UnixTimestamp,
            },
            ttl=timedelta(days=1),
        ),
        # Has a feature in common with the one above.
        view("driver_more", ["driver"], {"trips": Int32, "score": Float32, "ident": Uuid}),
        view("customer", ["customer"], {"age": Int32, "vip": Bool, "vector": Array(Float32)}),
        # Has another entity's join key as a feature.
        view("account", ["account"], {"balance": Float64, "driver_id": Int64, "photo": Bytes}),
        view("device", ["device"], {"model": String, "specs": Json}),
        view("hour", ["hour"], {"holiday": Bool}),
        view("pair", ["driver", "customer"], {"affinity": Float64, "meetings": Int64}),
        view("triple", ["hour", "customer", "account"], {"weight": Float32}),
        view("globals", [], {"fee": Float64, "slogan": String}),
        view("weather", ["place"], {"celsius": Float32}),
    ]
    return {listed_view.name: listed_view for listed_view in listed}


def on_demand_views(by_name: Mapping[str, FeatureView]) -> dict[str, OnDemandFeatureView]:
    """On-demand views in each mode."""
    request = RequestSource(
        name="request", schema=[Field(name="bonus", dtype=Int64), Field(name="word", dtype=String)]
    )
    stats, customer = by_name["driver_stats"], by_name["customer"]

    @on_demand_feature_view(
        sources=[stats, request],
        schema=[Field(name="rate_plus", dtype=Float64), Field(name="shout", dtype=String)],
        mode="pandas",
    )
    def boosted(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "rate_plus": inputs["rate"].astype("float64").fillna(-1.0) + inputs["bonus"],
                "shout": inputs["word"].str.upper(),
            }
        )

    @on_demand_feature_view(
        sources=[stats, customer],
        schema=[Field(name="sum", dtype=Float64), Field(name="cities", dtype=Array(String))],
        mode="python",
    )
    def joined(inputs: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["rate"], inputs["age"], strict=True)
        return {
            "sum": [(rate or 0.0) + (age or 0) for rate, age in pairs],
            "cities": [[city or "none"] for city in inputs["city"]],
        }

    @on_demand_feature_view(
        sources=[request],
        schema=[Field(name="doubled", dtype=Int64)],
        mode="python",
        singleton=True,
    )
    def only_request(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": inputs["bonus"] * 2}

    @on_demand_feature_view(
        sources=[request],
        schema=[Field(name="length", dtype=Int64)],
        mode="pandas",
    )
    def request_lengths(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"length": inputs["word"].str.len()})

    @on_demand_feature_view(
        entities=[ENTITIES["driver"]],
        sources=[stats],
        schema=[Field(name="stored_rate", dtype=Float64)],
        mode="pandas",
        write_to_online_store=True,
    )
    def stored(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"stored_rate": inputs["rate"] * 10})

    listed = [boosted, joined, only_request, request_lengths, stored]
    return {on_demand.name: on_demand for on_demand in listed}


def services(
    by_name: Mapping[str, FeatureView], on_demand: Mapping[str, OnDemandFeatureView]
) -> dict[str, FeatureService]:
    """Feature services by name."""
    weather = by_name["weather"]

    def at(place: str) -> FeatureView:
        return weather.with_name(place).with_join_key_map({"place_id": f"{place}_id"})

    contents: dict[str, list[Any]] = {
        "ranking": [by_name["driver_stats"], by_name["customer"][["age"]], by_name["pair"]],
        "aliased": [by_name["driver_stats"].with_name("one"), by_name["customer"].with_name("two")],
        "trip": [at("origin"), at("destination"), by_name["driver_stats"][["city"]]],
        "here_and_there": [weather.with_name("here"), at("origin")],
        "renamed": [
            on_demand["boosted"].with_name("raised"),
            on_demand["joined"].with_name("merged"),
            by_name["driver_more"].with_name("more"),
        ],
        "entityless": [by_name["globals"], by_name["device"]],
        "computed": [on_demand["boosted"], by_name["customer"][["vip"]]],
        "everything": [on_demand["joined"], on_demand["boosted"][["shout"]], by_name["pair"]],
    }
    return {name: FeatureService(name=name, features=parts) for name, parts in contents.items()}


class World:
    """All definitions, applied."""

    def __init__(self, store: FeatureStore, more: Sequence[Any] = ()) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.views = views()
            self.on_demand = on_demand_views(self.views)
            self.services = services(self.views, self.on_demand)
            store.apply(
                [
                    *ENTITIES.values(),
                    *self.views.values(),
                    *self.on_demand.values(),
                    *self.services.values(),
                    *more,
                ]
            )


def row(
    table: Any, values: Mapping[str, Any], when: datetime = NOON
) -> tuple[EntityKey, dict[str, Any], datetime, None]:
    """A row as Feast hands it to a store; a feature that is left out is absent, None is null."""
    declared = {field.name: field.dtype for field in table.schema}
    cells = {
        name: python_values_to_proto_values([value], declared[name].to_value_type())[0]
        for name, value in values.items()
    }
    keys = list(table.join_keys) if table.entities else ["__dummy_id"]
    if keys == ["__dummy_id"]:
        cells["__dummy_id"] = python_values_to_proto_values([""], ValueType.STRING)[0]
    key = EntityKey(join_keys=keys, entity_values=[cells.pop(name) for name in keys])
    return key, cells, when, None


def write(
    store: FeatureStore, name: str, rows: Sequence[Mapping[str, Any]], when: datetime = NOON
) -> None:
    """Writes rows of a view through the store's online store."""
    table = store.registry.get_any_feature_view(name, store.project, allow_cache=True)
    data = [row(table, values, when) for values in rows]
    store._get_provider().online_store.online_write_batch(store.config, table, data, None)
