"""The first read of hashes that nothing is known of: a large one waits until one of them has shown
how to read the others."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

import feast_rs
from tests.support.commands import succeeded
from tests.support.compare import assert_same
from tests.support.early import HalfWay
from tests.support.server import RedisServer, free_port
from tests.support.stores import STOCK, feature_store
from tests.support.wide import wide_batch, wide_store

STORED = 200
# What was learned of hashes with the same fields, also in another module, would be known already.
WIDTHS = itertools.count(230)


def read(store: FeatureStore, width: int, drivers: range) -> Any:
    features = [f"wide:f{place}" for place in range(width)]
    return store.get_online_features(features, {"driver_id": list(drivers)})


async def read_async(store: FeatureStore, width: int, drivers: range) -> Any:
    features = [f"wide:f{place}" for place in range(width)]
    return await store.get_online_features_async(features, {"driver_id": list(drivers)})


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize(
    ("first", "whole"), [(0, STORED), (-1, 2)], ids=["stored", "first not stored"]
)
def test_the_first_hash_shows_how_to_read_the_others(
    server: RedisServer, tmp_path: Path, first: int, whole: int, form: str
) -> None:
    """One that is not stored shows nothing, and is not waited for twice."""
    width = next(WIDTHS)
    store = wide_store(tmp_path, server.address, width, read_by_dump=False)
    feast_rs.write_batches(store, "wide", wide_batch(width, STORED))
    drivers = range(first, first + STORED)
    expected = read(feature_store(STOCK, tmp_path, server.address), width, drivers).to_dict()
    admin = server.client()
    for done in (whole, STORED):
        admin.config_resetstat()
        if form == "sync":
            answer = read(store, width, drivers)
        else:
            answer = asyncio.run(read_async(store, width, drivers))
        assert_same(expected, answer.to_dict())
        calls = succeeded(admin, "hgetall", "hmget")
        assert calls == {"hgetall": done, "hmget": STORED - done}


OUTAGE: dict[str, Any] = {"on_error": "defaults", "request_timeout_ms": 2000}


def test_an_outage_before_anything_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    width = next(WIDTHS)
    store = wide_store(tmp_path, f"127.0.0.1:{free_port()}", width, **OUTAGE)
    answer = read(store, width, range(STORED)).to_dict()
    assert f"default values were answered for {STORED} entity keys" in caplog.text
    assert all(set(answer[f"f{place}"]) == {None} for place in range(width))


def test_an_outage_once_the_first_hash_is_known(server: RedisServer, tmp_path: Path) -> None:
    """Values that came before it are as stored."""
    width = next(WIDTHS)
    store = wide_store(tmp_path, server.address, width)
    feast_rs.write_batches(store, "wide", wide_batch(width, STORED))
    half_way = HalfWay(server.port)
    store = wide_store(tmp_path, half_way.address, width, read_by_dump=False, **OUTAGE)
    answer = read(store, width, range(STORED))
    half_way.close()
    assert answer.degraded
    values = answer.to_dict()
    came = values["f0"].index(None)
    assert 2 < came < STORED - 2
    expected = read(feature_store(STOCK, tmp_path, server.address), width, range(STORED)).to_dict()
    for name in (f"f{place}" for place in range(width)):
        assert values[name] == expected[name][:came] + [None] * (STORED - came)
