"""Feature definitions over the flights that left New York in 2013.

Keys of several shapes meet here: an aircraft by tail number, a route by two airports, the weather
by airport and hour, and the airport register through a renamed key, as the destination.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)
hour = Entity(name="hour", join_keys=["time_hour"], value_type=ValueType.UNIX_TIMESTAMP)
airport = Entity(name="airport", join_keys=["faa"], value_type=ValueType.STRING)


def _source(name: str) -> FileSource:
    return FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="event_timestamp")


aircraft_history = FeatureView(
    name="aircraft_history",
    description="The last 30 days of an aircraft, as known at the midnight before",
    entities=[aircraft],
    ttl=timedelta(days=60),
    schema=[
        Field(name="tailnum", dtype=String),
        Field(name="flights_30d", dtype=Int32),
        Field(name="flights_total", dtype=Int64),
        Field(name="miles_total", dtype=Float64),
        Field(name="mean_dep_delay_30d", dtype=Float32),
        Field(name="late_share_30d", dtype=Float32),
        Field(name="last_arr_delays", dtype=Array(Float32)),
        Field(name="last_dest", dtype=String),
        Field(name="last_departure", dtype=UnixTimestamp),
    ],
    source=_source("aircraft_history"),
)

aircraft_register = FeatureView(
    name="aircraft_register",
    description="What kind of aircraft it is",
    entities=[aircraft],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="tailnum", dtype=String),
        Field(name="model_year", dtype=Float32),
        Field(name="manufacturer", dtype=String),
        Field(name="model", dtype=String),
        Field(name="engines", dtype=Int32),
        Field(name="seats", dtype=Int32),
        Field(name="is_jet", dtype=Bool),
    ],
    source=_source("aircraft"),
)

route_history = FeatureView(
    name="route_history",
    description="The last 30 days of a route, as known at the midnight before",
    entities=[origin, dest],
    ttl=timedelta(days=60),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="dest", dtype=String),
        Field(name="departures_30d", dtype=Int64),
        Field(name="cancelled_30d", dtype=Int32),
        Field(name="route_dep_delay_30d", dtype=Float32),
        Field(name="route_arr_delay_30d", dtype=Float32),
        Field(name="air_time_30d", dtype=Float64),
        Field(name="distance_miles", dtype=Int32),
        Field(name="had_cancellation", dtype=Bool),
    ],
    source=_source("route_history"),
)

weather = FeatureView(
    name="weather",
    description="The weather at an airport in an hour",
    entities=[origin, hour],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="time_hour", dtype=UnixTimestamp),
        Field(name="temp_f", dtype=Float32),
        Field(name="humidity", dtype=Float32),
        Field(name="wind_dir_deg", dtype=Float32),
        Field(name="wind_mph", dtype=Float32),
        Field(name="gust_mph", dtype=Float32),
        Field(name="precip_in", dtype=Float32),
        Field(name="pressure_mb", dtype=Float64),
        Field(name="visibility_mi", dtype=Float32),
    ],
    source=_source("weather"),
)

airport_register = FeatureView(
    name="airport_register",
    description="Where an airport lies",
    entities=[airport],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="faa", dtype=String),
        Field(name="name", dtype=String),
        Field(name="lat", dtype=Float64),
        Field(name="lon", dtype=Float64),
        Field(name="altitude_ft", dtype=Int32),
        Field(name="time_zone", dtype=String),
    ],
    source=_source("airport"),
)

departure = RequestSource(name="departure", schema=[Field(name="sched_minute", dtype=Int64)])


@on_demand_feature_view(
    sources=[departure, route_history[["route_dep_delay_30d"]], weather],
    schema=[
        Field(name="delay_outlook", dtype=Float64),
        Field(name="peak_wind_mph", dtype=Float64),
        Field(name="evening_peak", dtype=Bool),
    ],
    mode="python",
)
def outlook(inputs: dict[str, Any]) -> dict[str, Any]:
    """A departure's delay to reckon with, from its route, the weather and its time of day.

    A hand-made rule, to show request data meeting stored features; a model would learn it. Rows
    whose route or weather is unknown fall back on zero wind and zero delay.
    """
    result: dict[str, list[Any]] = {"delay_outlook": [], "peak_wind_mph": [], "evening_peak": []}
    for minute, usual, wind, gust, sight in zip(
        inputs["sched_minute"],
        inputs["route_dep_delay_30d"],
        inputs["wind_mph"],
        inputs["gust_mph"],
        inputs["visibility_mi"],
        strict=True,
    ):
        blow = max(wind or 0.0, gust or 0.0)
        rough = max(0.0, blow - 15.0) + (5.0 if sight is not None and sight < 3.0 else 0.0)
        # Delays pile up through the day: none at 5:00, the route's usual twice over by 21:00.
        piled = max(0.0, (minute - 300) / 480)
        result["delay_outlook"].append((usual or 0.0) * piled + rough)
        result["peak_wind_mph"].append(float(blow))
        result["evening_peak"].append(16 * 60 <= minute < 21 * 60)
    return result


_STORED = [
    aircraft_history,
    aircraft_register,
    route_history,
    weather,
    airport_register.with_name("dest_airport").with_join_key_map({"faa": "dest"})[
        ["name", "lat", "lon", "altitude_ft"]
    ],
]

departures = FeatureService(
    name="departures",
    description="All that is stored about a flight before it leaves",
    features=_STORED,
)

departures_outlook = FeatureService(
    name="departures_outlook",
    description="The same, and what is computed from it on demand",
    features=[*_STORED, outlook],
)

OBJECTS = [
    aircraft,
    origin,
    dest,
    hour,
    airport,
    aircraft_history,
    aircraft_register,
    route_history,
    weather,
    airport_register,
    outlook,
    departures,
    departures_outlook,
]
