"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import redis

from tests.support.server import RedisServer

# A shell starts background jobs with interrupts ignored, which Python then leaves so.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """A server for tests that do it no harm."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """The shared server, emptied."""
    redis.Redis(port=shared_server.port).flushall()
    return shared_server


@pytest.fixture(scope="module")
def module_server() -> Iterator[RedisServer]:
    """A server of one test module, which keeps what was written to it."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server of the test's own, to kill and pause."""
    server = RedisServer()
    yield server
    server.close()
