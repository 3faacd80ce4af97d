"""A standalone server that dies, stops, and has no room, under load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.workload import Workload
from tests.support.server import DURABLE, RedisServer


@pytest.fixture
def durable_server() -> Iterator[RedisServer]:
    """A server that keeps what it acknowledged when it is killed."""
    with closing(RedisServer(*DURABLE)) as server:
        yield server


def test_killed_and_restarted(durable_server: RedisServer, tmp_path: Path) -> None:
    server = durable_server
    with Workload(tmp_path, server.address, [server.address]) as load:
        load.run(1)
        for down in (0.0, 0.5, 1.0):
            with load.outage(must_fail=down > 0):
                server.kill()
                time.sleep(down)
                server.start()


def test_paused(durable_server: RedisServer, tmp_path: Path) -> None:
    server = durable_server
    with Workload(tmp_path, server.address, [server.address]) as load:
        load.run(1)
        for pause in (0.1, 0.6, 2.0):
            with load.outage(must_fail=pause > 0.5):
                server.pause()
                time.sleep(pause)
                server.resume()


def test_out_of_connections(durable_server: RedisServer, tmp_path: Path) -> None:
    server = durable_server
    with Workload(tmp_path, server.address, [server.address]) as load, server.client() as admin:
        load.run(1)
        for _ in range(2):
            with load.outage():
                admin.config_set("maxclients", 2)
                admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(1)
                admin.config_set("maxclients", 10_000)
        # Fewer than the workers would like to have, but some.
        with load.outage(must_fail=False):
            admin.config_set("maxclients", 12)
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(1)
            admin.config_set("maxclients", 10_000)
