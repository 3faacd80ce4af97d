"""What is known of a taxi company's drivers and of its zones, hour by hour."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64, String

DATA = Path(__file__).parent / "data"

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
zone = Entity(name="zone", join_keys=["zone"], value_type=ValueType.STRING)

driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=2),
    source=FileSource(path=str(DATA / "driver_stats.parquet"), timestamp_field="event_timestamp"),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="trips", dtype=Int64),
        Field(name="rating", dtype=Float64),
        Field(name="last_zone", dtype=String),
    ],
)

zone_demand = FeatureView(
    name="zone_demand",
    entities=[zone],
    ttl=timedelta(hours=6),
    source=FileSource(path=str(DATA / "zone_demand.parquet"), timestamp_field="event_timestamp"),
    schema=[
        Field(name="zone", dtype=String),
        Field(name="requests", dtype=Int64),
        Field(name="minutes_waited", dtype=Float32),
    ],
)
