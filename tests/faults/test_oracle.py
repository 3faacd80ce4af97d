"""That the workers see what is wrong: without this a green run would say nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import feast_rs
from tests.faults.heartbeat import CoreWait, Heartbeat
from tests.faults.workers import Record
from tests.faults.workload import Workload
from tests.support.drivers import hash_field, redis_key
from tests.support.server import RedisServer

FEW = {"threads": 2, "tasks": 2, "entities": 40}


def seen(load: Workload, words: str) -> bool:
    """Whether workers find a fault that is told in these words."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if any(words in fault for fault in load.report()["wrong"]):
            return True
    return False


def test_wrong_answers_are_seen(tmp_path: Path) -> None:
    with closing(RedisServer()) as server, server.client() as admin:
        load = Workload(tmp_path, server.address, [server.address], **FEW)
        with closing(load):
            load.run(0.5)
            load.verify()
            assert not load.report()["wrong"]
            keys = [redis_key(entity) for entity in range(FEW["entities"])]
            old = [admin.hgetall(key) for key in keys]
            load.run(0.5)

            for key, row in zip(keys, old, strict=True):
                admin.hset(key, mapping=row)
            assert seen(load, "was acknowledged")
            for key, row in zip(keys, old, strict=True):
                admin.hset(key, hash_field("rate"), row[hash_field("rate")])
            assert seen(load, "parts of several rows")
            admin.flushall()
            assert seen(load, "null, though written before")


def test_errors_are_seen(tmp_path: Path) -> None:
    def no_outage(load: Workload) -> None:
        server.pause()
        load.run(0.6)
        server.resume()
        load.run(0.5)

    def no_fault(load: Workload) -> None:
        with load.outage():
            pass

    def no_return(load: Workload) -> None:
        with load.outage():
            server.kill()

    def run(scene: Callable[[Workload], None]) -> None:
        directory = tmp_path / scene.__name__
        directory.mkdir()
        with Workload(directory, server.address, [server.address], **FEW) as load:
            scene(load)

    with closing(RedisServer()) as server:
        for scene, words in (
            (no_outage, "errors outside of outages"),
            (no_fault, "hurt nobody"),
            (no_return, "not back"),
        ):
            with pytest.raises(AssertionError, match=words):
                run(scene)


def test_what_an_error_must_be() -> None:
    record = Record(0.3, ["host:1"], ["s3cret"])
    for error in (
        feast_rs.ConnectionError("redis at host:1: gone"),
        feast_rs.ServerError("redis at host:1: LOADING"),
    ):
        record.took("task", 1.0, 1.1, error)
    assert record.report()["wrong"] == []
    for error, words in (
        (feast_rs.TimeoutError("too late"), "without an address"),
        (feast_rs.DecodeError("redis at host:1: what is that?"), "no outage's"),
        (ConnectionError("redis at host:1: gone"), "no outage's"),
        (feast_rs.ServerError("redis at host:1: AUTH s3cret"), "tells a secret"),
    ):
        record.took("task", 1.0, 1.1, error)
        (fault,) = record.report()["wrong"]
        assert words in fault
        assert "s3cret" not in fault


def test_late_calls() -> None:
    record = Record(0.3, [], [])
    record.took("thread", 100.0, 100.305, None)
    record.took("thread", 100.0, 100.320, None)
    record.took("thread", 100.0, 100.320, None, waited=0.015)
    first, second = record.report()["late"]
    assert first["net"] == pytest.approx(0.020)
    assert second["net"] == pytest.approx(0.005)

    heart = Heartbeat()
    heart.start_thread()
    wait = CoreWait()
    time.sleep(0.05)
    begin = time.monotonic()
    # Holds the GIL, so that no beat comes.
    sum(range(10_000_000))
    end = time.monotonic()
    time.sleep(0.05)
    assert end - begin > 0.05
    assert heart.missed(begin, end) > (end - begin) / 2
    assert heart.overtime(end - 0.5, end, 0.1, wait.seconds()) < 0.4
    assert heart.missed(begin - 10, begin - 5) == 0
