"""What is written is what stock writes, byte for byte."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pendulum
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support import writers as support
from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.world import NOON, row
from tests.support.writers import stored

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning"),
    pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
]


class Writers(support.Writers):
    """Both stores, each given the same rows."""

    def write(self, batch: list[Any], asynchronous: bool = False, name: str = "") -> None:
        """Writes a batch with both, and compares their calls of `progress` and what is stored."""
        table = self.view(name) if name else self.table
        calls: list[list[int]] = []
        for store in self.stores:
            seen: list[int] = []
            online_store = store._get_provider().online_store
            if asynchronous and store is self.stores[1]:
                asyncio.run(
                    online_store.online_write_batch_async(store.config, table, batch, seen.append)
                )
            else:
                online_store.online_write_batch(store.config, table, batch, seen.append)
            calls.append(seen)
        assert calls[0] == calls[1]
        self.assert_same()


@pytest.fixture(
    scope="module", params=[{}, {"skip_dedup": True}, {"key_ttl_seconds": 1000}], ids=str
)
def writers(
    request: pytest.FixtureRequest,
    module_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Writers:
    directory = tmp_path_factory.mktemp("writers")
    return Writers(directory, module_server.address, **request.param)


STATS = st.fixed_dictionaries(
    {"driver_id": st.integers(0, 2)},
    optional={
        "rate": st.none() | st.floats(),
        "trips": st.none() | st.integers(-(2**63), 2**63 - 1),
        "city": st.text(max_size=5) | st.just("x" * 70),
        "tags": st.lists(st.text(max_size=3), max_size=3),
    },
)
# Few enough to collide, on both sides of the epoch and within a second.
OFFSETS = st.sampled_from(
    [
        timedelta(0),
        timedelta(seconds=1),
        timedelta(microseconds=1),
        timedelta(seconds=-1),
        timedelta(days=-365 * 60),
        timedelta(days=-365 * 60, microseconds=-1),
        datetime(1970, 1, 1, tzinfo=timezone.utc) - NOON,
    ]
)
ZONES = st.sampled_from([timezone.utc, timezone(timedelta(hours=-5)), None])


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[dict[str, Any], datetime]]:
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        zone = draw(ZONES)
        when = NOON + draw(OFFSETS)
        when = when.replace(tzinfo=None) if zone is None else when.astimezone(zone)
        rows.append((draw(STATS), when))
    return rows


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=st.lists(batches(), min_size=1, max_size=3), asynchronous=st.booleans())
def test_any_batches(
    writers: Writers, written: list[list[tuple[dict[str, Any], datetime]]], asynchronous: bool
) -> None:
    writers.clear()
    for batch in written:
        rows = [row(writers.table, values, when) for values, when in batch]
        writers.write(rows, asynchronous)


def test_batches_of_every_view(writers: Writers) -> None:
    writers.clear()
    examples: dict[str, dict[str, Any]] = {
        "customer": {"customer_id": "ü", "age": 4, "vip": True, "vector": [0.5] * 768},
        "account": {"account_id": -5, "balance": None, "photo": b"\xff" * 100},
        "device": {"device_id": b"\x00*?", "model": ""},
        "hour": {"hour_id": NOON, "holiday": False},
        "pair": {"driver_id": 1, "customer_id": "a", "affinity": 0.5},
        "triple": {"hour_id": NOON, "customer_id": "", "account_id": 1, "weight": -0.0},
        "globals": {"fee": 1.0, "slogan": "go"},
        "stored": {"driver_id": 7, "stored_rate": 2.0},
    }
    for name, values in examples.items():
        table = writers.view(name)
        writers.write([row(table, values)], name=name)
    assert len(stored(writers.stores[1])) == len(examples)


def test_the_time_to_live_is_the_keys(writers: Writers) -> None:
    """It is set by a write, and not by one that is skipped as not newer."""
    writers.clear()
    batch = [row(writers.table, {"driver_id": 1, "rate": 0.5})]
    writers.write(batch)
    ttl = writers.stores[1].config.online_store.key_ttl_seconds
    ((_, left),) = stored(writers.stores[1]).values()
    assert left == (-1 if ttl is None else ttl)
    if ttl is None:
        return
    client = client_of(writers.stores[1])
    for key in client.scan_iter():
        client.expire(key, 100)
    writers.write(batch)
    assert all(int(left) in (99, 100) for _, left in stored(writers.stores[1]).values())


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(days=-365 * 60, microseconds=-1)])
def test_event_timestamps_of_pendulum(writers: Writers, offset: timedelta) -> None:
    """Airflow's, whose differences have parts of their own, on both sides of the epoch."""
    writers.clear()
    when = pendulum.instance(NOON + offset).in_timezone("America/New_York")
    writers.write([row(writers.table, {"driver_id": 1, "rate": 0.5}, when)])


def test_a_large_batch(writers: Writers) -> None:
    writers.clear()
    rows = [
        row(
            writers.table,
            {"driver_id": driver % 700, "trips": driver},
            NOON + timedelta(seconds=at),
        )
        for at, driver in enumerate(range(1500))
    ]
    writers.write(rows)
    assert len(stored(writers.stores[1])) == 700


def test_without_progress(writers: Writers) -> None:
    for store in writers.stores:
        online_store = store._get_provider().online_store
        batch = [row(writers.table, {"driver_id": 1})]
        assert online_store.online_write_batch(store.config, writers.table, batch, None) is None
    writers.assert_same()


def test_a_value_of_a_wrong_key_type_is_refused_before_anything_is_written(
    writers: Writers,
) -> None:
    writers.clear()
    good = row(writers.table, {"driver_id": 1, "rate": 0.5})
    bad = row(writers.table, {"driver_id": 2})
    bad[0].entity_values[0].float_val = 1.0
    for store, error in zip(writers.stores, (ValueError, feast_rs.EntityKeyError), strict=True):
        online_store = store._get_provider().online_store
        with pytest.raises(error):
            online_store.online_write_batch(store.config, writers.table, [good, bad], None)
        assert stored(store) == {}
