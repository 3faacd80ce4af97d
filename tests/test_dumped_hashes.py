"""Wide hashes of short values are read by DUMP: the same answers; HGETALL where it cannot be."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from feast import FeatureStore

import feast_rs
from tests.support.commands import succeeded
from tests.support.compare import assert_same
from tests.support.drivers import redis_key
from tests.support.proxy import Proxy, shut
from tests.support.server import RedisServer, embedded_binary, server_binary
from tests.support.stores import STOCK, feature_store
from tests.support.wide import wide_batch, wide_store

STORED = 300
# What was learned of hashes with the same fields would be known already.
WIDTHS = itertools.count(120)
# The longest text among short values, in bytes.
TEXT = 2
# Until small reads are by DUMP: the first one sees that the hashes are wide, the second tries it.
LESSONS = 2


def calls(admin: redis.Redis) -> dict[str, int]:
    """How often DUMP and HGETALL were run without an error since the last reset."""
    return succeeded(admin, "dump", "hgetall")


class Wide:
    """A view of many features, filled, and stores that read it."""

    def __init__(self, directory: Path, server: RedisServer, **settings: Any) -> None:
        self.directory, self.width = directory, next(WIDTHS)
        self.admin = server.client()
        self.address, self.port = server.address, server.port
        self.store = self.open(**settings)
        self.write(wide_batch(self.width, STORED, text=TEXT))
        self.admin.config_resetstat()

    def open(self, address: str | None = None, **settings: Any) -> FeatureStore:
        address = address or self.address
        return wide_store(self.directory, address, self.width, **settings)

    def write(self, data: pa.Table, view: str = "wide") -> None:
        feast_rs.write_batches(self.store, view, data)

    def read(self, store: FeatureStore, rows: int = STORED + 20, first: int = -10) -> Any:
        """Entities of which the first and the last are not stored."""
        return store.get_online_features(
            [f"wide:f{place}" for place in range(self.width)],
            [{"driver_id": driver} for driver in range(first, first + rows)],
        )

    @property
    def expected(self) -> dict[str, list[Any]]:
        """Stock's answer."""
        stock = feature_store(STOCK, self.directory, self.address)
        answer: dict[str, list[Any]] = self.read(stock).to_dict()
        return answer

    def learn(self, store: FeatureStore) -> None:
        """Reads until it is known how to, of entities of which the first is stored."""
        for _ in range(LESSONS):
            self.read(store, 5, 0).to_dict()
        self.admin.config_resetstat()


@pytest.fixture
def wide(server: RedisServer, tmp_path: Path) -> Wide:
    return Wide(tmp_path, server)


@pytest.fixture(params=["packed", "plain"])
def packing(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[None]:
    """Whether the server packs what it dumps."""
    admin = server.client()
    admin.config_set("rdbcompression", "yes" if request.param == "packed" else "no")
    yield
    admin.config_set("rdbcompression", "yes")


@pytest.mark.usefixtures("packing")
def test_answers_are_stocks(wide: Wide) -> None:
    wide.write(wide_batch(wide.width, STORED // 2, text=TEXT), "second")
    expected = wide.expected
    wide.learn(wide.store)
    # The lists of later ones are begun while the replies come.
    for number in range(1, 6):
        assert_same(expected, wide.read(wide.store).to_dict())
        assert calls(wide.admin) == {"dump": number * (STORED + 20), "hgetall": 0}


@pytest.mark.usefixtures("packing")
def test_every_form_of_the_answer(wide: Wide) -> None:
    plain = wide.open(read_by_dump=False)
    wide.learn(plain)
    other = wide.read(plain)
    assert calls(wide.admin) == {"dump": 0, "hgetall": STORED + 20}
    wide.learn(wide.store)
    answer = wide.read(wide.store)
    assert calls(wide.admin)["dump"] == STORED + 20
    assert answer.to_arrow().equals(other.to_arrow())
    assert answer.proto == other.proto
    numbers = [f"f{place}" for place in range(0, wide.width, 4)]
    assert np.array_equal(answer.to_matrix(numbers), other.to_matrix(numbers), equal_nan=True)
    assert_same(other.to_dict(include_event_timestamps=True), answer.to_dict(True))


def test_async_reads(wide: Wide) -> None:
    async def reads() -> list[dict[str, list[Any]]]:
        answers = []
        for _ in range(LESSONS + 2):
            answer = await wide.store.get_online_features_async(
                [f"wide:f{place}" for place in range(wide.width)],
                [{"driver_id": driver} for driver in range(STORED)],
            )
            answers.append(answer.to_dict())
        await wide.store.close()
        return answers

    stock = feature_store(STOCK, wide.directory, wide.address)
    expected = wide.read(stock, STORED, 0).to_dict()
    wide.admin.config_resetstat()
    for answer in asyncio.run(reads()):
        assert_same(expected, answer)
    # The first one is large, and sees by its first hash that they are wide.
    assert calls(wide.admin)["dump"] == 1 + (LESSONS + 1) * STORED


@pytest.mark.parametrize("binary", [server_binary, embedded_binary])
def test_numbers_and_hash_tables_among_them(tmp_path: Path, binary: Callable[[], str]) -> None:
    with closing(RedisServer(binary=binary())) as server:
        wide = Wide(tmp_path, server)
        # Cells that a listpack keeps as numbers: "5" is the tag of a float, digits are its bytes.
        digits = [struct.unpack("<f", text)[0] for text in (b"1234", b"0000", b"9999", b"0123")]
        data = wide_batch(wide.width, STORED, text=TEXT)
        for place in range(3, wide.width, 4):
            cells = [digits[(place + row) % 4] for row in range(STORED)]
            data = data.set_column(place + 2, f"f{place}", pa.array(cells, pa.float32()))
        # Strings that are too long for a listpack, in every third row.
        texts = ["x" * 65 if row % 3 == 0 else "y" for row in range(STORED)]
        data = data.set_column(4, "f2", pa.array(texts))
        wide.admin.flushall()
        wide.write(data)
        assert wide.admin.object("encoding", redis_key(0)) == b"hashtable"
        assert wide.admin.object("encoding", redis_key(1)) == b"listpack"
        dumped = wide.admin.dump(redis_key(1))
        assert dumped is not None
        expected = wide.expected
        # Of entities that are no hash tables.
        features = [f"wide:f{place}" for place in range(wide.width)]
        rows = [{"driver_id": row} for row in range(1, STORED, 3)]
        for _ in range(LESSONS):
            wide.store.get_online_features(features, rows).to_dict()
        wide.admin.config_resetstat()
        assert_same(expected, wide.read(wide.store).to_dict())
        assert calls(wide.admin) == {"dump": STORED + 20, "hgetall": STORED // 3}
        # And seldom again.
        for _ in range(8):
            assert_same(expected, wide.read(wide.store).to_dict())
        assert calls(wide.admin)["dump"] <= 5 * (STORED + 20)


def test_hashes_of_which_fields_expire(tmp_path: Path) -> None:
    with closing(RedisServer(binary=embedded_binary())) as server:
        wide = Wide(tmp_path, server)
        expected = wide.expected
        wide.learn(wide.store)
        field = next(iter(wide.admin.hkeys(redis_key(7))))
        wide.admin.execute_command("HEXPIRE", redis_key(7), 1000, "FIELDS", 1, field)
        assert_same(expected, wide.read(wide.store).to_dict())
        assert calls(wide.admin) == {"dump": STORED + 20, "hgetall": 1}


def test_another_type_is_refused_as_ever(wide: Wide) -> None:
    wide.learn(wide.store)
    wide.admin.set(redis_key(7), "text")
    with pytest.raises(feast_rs.ServerError, match="WRONGTYPE"):
        wide.read(wide.store)
    assert calls(wide.admin)["dump"] == STORED + 20


@pytest.mark.parametrize("when", ["from the start", "later"])
def test_without_the_right_to_it(server: RedisServer, tmp_path: Path, when: str) -> None:
    wide = Wide(tmp_path, server)
    rights = ["-dump"] if when == "from the start" else []
    wide.admin.execute_command("ACL", "SETUSER", "reader", "on", ">s3cret", "~*", "+@all", *rights)
    try:
        store = wide.open(username="reader", password="s3cret")
        expected = wide.expected
        for _ in range(LESSONS):
            wide.read(store, 5, 0).to_dict()
        if when == "later":
            wide.admin.execute_command("ACL", "SETUSER", "reader", "-dump")
        wide.admin.config_resetstat()
        for _ in range(5):
            assert_same(expected, wide.read(store).to_dict())
        told = wide.admin.info("commandstats").get("cmdstat_dump", {})
        rejected = told.get("rejected_calls", 0)
        # Once it was refused it is not asked for any more.
        assert rejected == (0 if when == "from the start" else STORED + 20)
        assert calls(wide.admin)["hgetall"] == 5 * (STORED + 20)
    finally:
        wide.admin.execute_command("ACL", "DELUSER", "reader")


class Refusing(Proxy):
    """Ends a connection on which DUMP is asked for, or says nothing."""

    met = 0
    silent = passing = False

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        if self.passing or b"$4\r\nDUMP\r\n" not in chunk:
            super().pass_on(chunk, server)
            return
        self.met += 1
        if not self.silent:
            shut(server)
            raise ConnectionError


def test_a_proxy_that_hangs_up(wide: Wide) -> None:
    expected = wide.expected
    with closing(Refusing(wide.port)) as proxy:
        store = wide.open(proxy.address)
        wide.learn(store)
        for _ in range(20):
            assert_same(expected, wide.read(store).to_dict())
        assert 2 <= proxy.met <= 4


def test_a_proxy_that_comes_later(wide: Wide) -> None:
    expected = wide.expected
    with closing(Refusing(wide.port)) as proxy:
        proxy.passing = True
        store = wide.open(proxy.address)
        wide.learn(store)
        assert_same(expected, wide.read(store).to_dict())
        assert calls(wide.admin)["dump"] == STORED + 20
        proxy.passing = False
        with pytest.raises(feast_rs.ConnectionError):
            wide.read(store)
        for _ in range(10):
            assert_same(expected, wide.read(store).to_dict())


def test_a_trial_that_is_cancelled_is_in_vain(wide: Wide) -> None:
    expected = wide.expected
    with closing(Refusing(wide.port)) as proxy:
        proxy.silent = True
        store = wide.open(proxy.address)
        features = [f"wide:f{place}" for place in range(wide.width)]

        async def reads() -> None:
            read = partial(store.get_online_features_async, features, [{"driver_id": 1}])
            while not proxy.met:
                task = asyncio.create_task(read())
                while not (task.done() or proxy.met):
                    await asyncio.sleep(0.001)
                task.cancel()
                await asyncio.wait([task])
            for _ in range(5):
                await read()

        asyncio.run(asyncio.wait_for(reads(), 60))
        assert proxy.met == 1
        assert_same(expected, wide.read(store).to_dict())


def test_it_can_be_turned_off(wide: Wide) -> None:
    store = wide.open(read_by_dump=False)
    for _ in range(4):
        wide.read(store, 5, 0)
    assert calls(wide.admin)["dump"] == 0


def test_few_of_many_and_long_values_are_read_as_before(
    server: RedisServer, tmp_path: Path
) -> None:
    wide = Wide(tmp_path, server)
    for _ in range(6):
        wide.store.get_online_features(["wide:f1"], [{"driver_id": n} for n in range(STORED)])
    assert calls(wide.admin)["dump"] == 0
    wide.width = next(WIDTHS)
    wide.store = wide.open()
    wide.admin.flushall()
    wide.write(wide_batch(wide.width, STORED, text=60))
    for _ in range(6):
        wide.read(wide.store)
    assert calls(wide.admin)["dump"] == 0
