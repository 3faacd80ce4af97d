"""The rows, what stock Feast makes of them, and servers for the workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributed.rides import (
    END,
    PASSWORD,
    START,
    Contents,
    contents,
    feature_store,
    file_source,
    write_parquet,
)
from tests.support.server import RedisServer


@pytest.fixture(scope="session")
def rides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both views' rows."""
    directory = tmp_path_factory.mktemp("rides")
    write_parquet(directory)
    return directory


@pytest.fixture(scope="session")
def by_stock(rides: Path) -> Contents:
    """What stock Feast's local engine and its Redis store write."""
    server = RedisServer()
    online_store = {"type": "redis", "connection_string": server.address}
    store = feature_store(rides, file_source, online_store, offline_store={"type": "file"})
    store.materialize(START, END)
    stored = contents(server)
    server.close()
    return stored


@pytest.fixture
def guarded_server() -> Iterator[RedisServer]:
    """A server that asks for a password."""
    server = RedisServer("--requirepass", PASSWORD)
    yield server
    server.close()


@pytest.fixture
def full_server() -> Iterator[RedisServer]:
    """A server that has no memory left to write to."""
    server = RedisServer("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    yield server
    server.close()
