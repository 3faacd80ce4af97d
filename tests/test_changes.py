"""What changes under a store in use: its configuration, the registry's plans, the process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

import feast_rs
from tests.support.drivers import check, expected, filled_store, open_store, read, read_async
from tests.support.server import RedisServer, free_port


def test_many_threads_take_arrow_from_plans_that_are_new(
    server: RedisServer, tmp_path: Path
) -> None:
    """pyarrow's import of a schema runs Python, so no lock may be held meanwhile."""
    store = filled_store(tmp_path, server.address)
    planner = store._get_provider().online_store._planner
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                planner._plans.clear()
                assert read(store, [3, 5]).to_arrow().num_rows == 2
        except BaseException as failure:
            failures.append(failure)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        threads[0].join(1.5)
        stop.set()
        for thread in threads:
            thread.join(10)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures


def test_a_forked_child_leaves_the_parents_connections_alone(
    server: RedisServer, tmp_path: Path
) -> None:
    store = filled_store(tmp_path, server.address, request_timeout_ms=2000)

    async def session() -> None:
        await asyncio.gather(*(read_async(store, [i]) for i in range(3)))
        child = os.fork()
        if child == 0:
            store._get_provider().online_store._clients.clear()
            os._exit(0)
        os.waitpid(child, 0)
        for _ in range(4):
            assert (await read_async(store, [3])).to_dict() == expected([3])

    asyncio.run(session())


def test_a_store_follows_its_settings(
    server: RedisServer, own_server: RedisServer, tmp_path: Path
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, f"127.0.0.1:{free_port()}")
    with pytest.raises(feast_rs.ConnectionError):
        read(store, [3])
    settings = store.config.online_store
    settings.connection_string = server.address
    check(store, read)
    elsewhere = settings.model_copy(update={"connection_string": own_server.address})
    assert elsewhere.connection_key != settings.connection_key
    store.config._online_store = elsewhere
    assert read(store, [3]).to_dict() != expected([3])
    store.config._online_store = settings
    check(store, read)


def test_a_plan_is_for_one_key_version(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    check(store, read)
    store.config.entity_key_serialization_version = 2
    nothing = read(store, [3]).to_dict()
    assert {name: values for name, values in nothing.items() if values != [None]} == {
        "driver_id": [3]
    }
    store.config.entity_key_serialization_version = 3
    check(store, read)
