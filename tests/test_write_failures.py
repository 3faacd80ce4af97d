"""Writes to servers that refuse, fall silent or die: what is told, and what is stored then."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import FeatureStore

import feast_rs
from feast_rs.writing import RowWriter
from tests.support.drivers import STORED, check, fill, open_store, read, redis_key
from tests.support.proxy import Proxy, chunks, shut
from tests.support.races import messages, record_batch, stored_stamps
from tests.support.running import eventually
from tests.support.server import RedisServer

PASSWORD = "s3cret,=@:%/1"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
FIRST = 1001
"""The first driver that is written."""


def rows(count: int, stamp: int = 1) -> list[tuple[int, int]]:
    return [(FIRST + place, stamp) for place in range(count)]


def batches(count: int, size: int, stamp: int = 1) -> list[pa.RecordBatch]:
    """Batches of drivers that come once."""
    all_rows = rows(count * size, stamp)
    return [record_batch(all_rows[at : at + size]) for at in range(0, count * size, size)]


def stream(store: FeatureStore, count: int) -> None:
    feast_rs.write_batches(store, "stats", batches(1, count), retry_seconds=0.2)


def single(store: FeatureStore, count: int) -> None:
    view = store.get_feature_view("stats")
    online_store = store._get_provider().online_store
    online_store.online_write_batch(store.config, view, messages(rows(count)), None)


def single_async(store: FeatureStore, count: int) -> None:
    view = store.get_feature_view("stats")
    online_store = store._get_provider().online_store
    writing = online_store.online_write_batch_async(store.config, view, messages(rows(count)), None)
    asyncio.run(writing)


Way = Callable[[FeatureStore, int], None]

every_way = pytest.mark.parametrize("write", [stream, single, single_async])
both_modes = pytest.mark.parametrize("atomic", [False, True], ids=["compared", "atomic"])


def fails(
    kind: type[Exception], work: Callable[..., Any], *arguments: Any, words: tuple[str, ...] = ()
) -> tuple[int, int]:
    """How many rows the error says were acknowledged, and of how many."""
    with pytest.raises(feast_rs.FeastRsError) as raised:
        work(*arguments)
    text = str(raised.value)
    assert type(raised.value) is kind, repr(raised.value)
    for word in words:
        assert word in text
    assert "s3cret" not in text
    told = re.match(r"(\d+) of (\d+) rows were acknowledged: ", text)
    assert told, text
    return int(told[1]), int(told[2])


def writers_alive() -> int:
    """Threads of this process that write streams."""
    names = []
    for thread in Path("/proc/self/task").iterdir():
        try:
            names.append((thread / "comm").read_text().strip())
        except OSError:
            continue
    return names.count("feast-rs-write")


def no_writer_is_left(within: float = 1) -> bool:
    """Whether there is none, but for one that was joined and that the kernel is yet to remove."""
    end = time.monotonic() + within
    while writers_alive() and time.monotonic() < end:
        time.sleep(0.01)
    return writers_alive() == 0


@contextmanager
def later(seconds: float, work: Callable[[], Any]) -> Iterator[None]:
    """Does something in a while; it is done at the end."""
    timer = threading.Timer(seconds, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@every_way
@both_modes
def test_no_memory_left(own_server: RedisServer, tmp_path: Path, write: Way, atomic: bool) -> None:
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic)
    admin = own_server.client()
    admin.config_set("maxmemory", 1)
    words = (own_server.address, "'stats'", "driver_id=1001; driver_id=1002", "97 more", "OOM")
    assert fails(feast_rs.ServerError, write, store, 100, words=words) == (0, 100)
    assert admin.dbsize() == 0
    admin.config_set("maxmemory", 0)
    write(store, 100)
    assert admin.dbsize() == 100


@both_modes
def test_memory_that_runs_out_on_the_way(
    own_server: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic)
    admin = own_server.client()
    fill(store)
    admin.flushall()
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 2_000_000)
    data = batches(20, 2000)
    acknowledged, _ = fails(feast_rs.ServerError, feast_rs.write_batches, store, "stats", data)
    assert 0 < acknowledged == admin.dbsize() < 40_000
    admin.config_set("maxmemory", 0)
    report = feast_rs.write_batches(store, "stats", data)
    assert report.rows_skipped == acknowledged
    assert report.rows_written == 40_000 - acknowledged
    assert admin.dbsize() == 40_000


@every_way
@both_modes
def test_a_replica(own_server: RedisServer, tmp_path: Path, write: Way, atomic: bool) -> None:
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic)
    admin = own_server.client()
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    words = (own_server.address, "'stats'", "driver_id=1001", "READONLY")
    assert fails(feast_rs.ServerError, write, store, 10, words=words) == (0, 10)
    admin.execute_command("REPLICAOF", "NO", "ONE")
    assert admin.dbsize() == 0
    write(store, 10)
    assert admin.dbsize() == 10


@both_modes
def test_a_replica_that_becomes_the_primary(
    own_server: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic)
    admin = own_server.client()
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    with later(0.3, lambda: admin.execute_command("REPLICAOF", "NO", "ONE")):
        report = feast_rs.write_batches(store, "stats", batches(3, 100))
    assert (report.rows_written, report.rows_skipped, report.rows_failed) == (300, 0, 0)
    assert admin.dbsize() == 300


@every_way
@both_modes
def test_a_server_whose_disk_is_full(tmp_path: Path, write: Way, atomic: bool) -> None:
    with closing(RedisServer("--save", "3600", "1")) as server:
        store = open_store(tmp_path, server.address, atomic_writes=atomic)
        fill(store)
        store = open_store(tmp_path, server.address, atomic_writes=atomic)
        admin = server.client()
        # The dump cannot be put in the place of a directory.
        (Path(server._directory.name) / "dump.rdb" / "full").mkdir(parents=True)
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] != "err":
            time.sleep(0.02)
        words = (server.address, "'stats'", "driver_id=1001", "MISCONF")
        assert fails(feast_rs.ServerError, write, store, 10, words=words) == (0, 10)
        assert admin.dbsize() == STORED
        check(open_store(tmp_path, server.address), read)


@every_way
@both_modes
def test_keys_of_another_type(
    server: RedisServer, tmp_path: Path, write: Way, atomic: bool
) -> None:
    store = open_store(tmp_path, server.address, atomic_writes=atomic)
    admin = server.client()
    for driver in (1003, 1005):
        admin.set(redis_key(driver), "no hash")
    words = (server.address, "'stats'", "driver_id=1003; driver_id=1005:", "WRONGTYPE")
    told = fails(feast_rs.ServerError, write, store, 10, words=words)
    # A script writes what it can; otherwise the batch's times are read first.
    assert told == ((8, 10) if atomic else (0, 10))
    assert admin.dbsize() == 2 + told[0]
    admin.delete(redis_key(1003), redis_key(1005))
    write(store, 10)
    assert admin.dbsize() == 10
    assert admin.type(redis_key(1003)) == b"hash"


@both_modes
def test_a_server_that_is_still_loading(tmp_path: Path, atomic: bool) -> None:
    slow = ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    with closing(RedisServer(*slow)) as server:
        store = open_store(tmp_path, server.address, atomic_writes=atomic)
        fill(store)
        server.client().save()
        server.kill()
        server.start()
        words = (server.address, "LOADING")
        assert fails(feast_rs.ServerError, single, store, 10, words=words) == (0, 10)
        report = feast_rs.write_batches(store, "stats", batches(2, 10))
        assert report.rows_written == 20
        assert server.client().dbsize() == STORED + 20


@every_way
def test_no_server(tmp_path: Path, write: Way) -> None:
    store = open_store(tmp_path, "127.0.0.1:1")
    start = time.monotonic()
    fails(feast_rs.ConnectionError, write, store, 10, words=("127.0.0.1:1", "view 'stats'"))
    fails(feast_rs.ConnectionError, feast_rs.write_batches, store, "stats", batches(1, 1))
    assert time.monotonic() - start < 20, "nothing is waited for that was never there"


@both_modes
def test_a_server_that_is_restarted_on_the_way(tmp_path: Path, atomic: bool) -> None:
    with closing(RedisServer(*DURABLE)) as server:
        store = open_store(tmp_path, server.address, atomic_writes=atomic)

        def data() -> Iterator[pa.RecordBatch]:
            for place, batch in enumerate(batches(12, 1500)):
                if place in (4, 9):
                    server.kill()
                    timer = threading.Timer(0.3, server.start)
                    timer.start()
                    yield batch
                    timer.join()
                else:
                    yield batch

        report = feast_rs.write_batches(store, "stats", data())
        assert (report.rows_read, report.rows_written) == (18_000, 18_000)
        assert (report.rows_skipped, report.rows_failed) == (0, 0)
        assert server.client().dbsize() == 18_000


@both_modes
def test_a_server_that_does_not_come_back(tmp_path: Path, atomic: bool) -> None:
    with closing(RedisServer(*DURABLE)) as server:
        store = open_store(tmp_path, server.address, atomic_writes=atomic, password=None)
        data = batches(10, 1500)

        def dying() -> Iterator[pa.RecordBatch]:
            for place, batch in enumerate(data):
                if place == 6:
                    server.kill()
                yield batch

        def write() -> None:
            feast_rs.write_batches(store, "stats", dying(), retry_seconds=0.5)

        words = (server.address,)
        acknowledged, of = fails(feast_rs.ConnectionError, write, words=words)
        assert acknowledged <= of <= 15_000
        assert no_writer_is_left()
        server.start()
        admin = server.client()
        pipeline = admin.pipeline(transaction=False)
        for driver, _ in rows(15_000):
            pipeline.exists(redis_key(driver))
        there = pipeline.execute()
        stored = [driver for (driver, _), found in zip(rows(15_000), there, strict=True) if found]
        assert stored[:acknowledged] == [driver for driver, _ in rows(acknowledged)]
        # Run again it ends in the same state.
        report = feast_rs.write_batches(store, "stats", data)
        assert report.rows_skipped == len(stored)
        assert report.rows_written == 15_000 - len(stored)
        assert admin.dbsize() == 15_000


@both_modes
def test_a_server_that_falls_silent_for_a_while(
    own_server: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic, socket_timeout=0.3)

    def data() -> Iterator[pa.RecordBatch]:
        for place, batch in enumerate(batches(8, 1500)):
            if place == 3:
                own_server.pause()
                threading.Timer(1.0, own_server.resume).start()
            yield batch

    report = feast_rs.write_batches(store, "stats", data(), retry_seconds=60)
    assert (report.rows_written, report.rows_skipped, report.rows_failed) == (12_000, 0, 0)
    assert own_server.client().dbsize() == 12_000


def test_a_server_that_stays_silent(own_server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, own_server.address, socket_timeout=0.2)
    single(store, 1)
    own_server.pause()
    told = fails(feast_rs.TimeoutError, single, store, 10, words=(own_server.address,))
    assert told == (0, 10)
    words = (own_server.address, "socket_connect_timeout")
    fails(feast_rs.TimeoutError, stream, store, 10, words=words)
    own_server.resume()
    single(store, 10)
    assert own_server.client().dbsize() == 10


@both_modes
def test_the_time_limit_of_a_write(own_server: RedisServer, tmp_path: Path, atomic: bool) -> None:
    """It holds in every phase: connecting, asking for what is stored, writing."""
    store = open_store(tmp_path, own_server.address, atomic_writes=atomic, write_timeout_ms=300)
    words = (own_server.address, "write_timeout_ms = 300", "feature view 'stats'")

    def limited(rows: int) -> None:
        for write in (single, single_async):
            start = time.monotonic()
            assert fails(feast_rs.TimeoutError, write, store, rows, words=words) == (0, rows)
            # Besides, this makes the rows' messages.
            assert time.monotonic() - start < 0.6

    # Nobody is let in.
    own_server.pause()
    limited(10)
    own_server.resume()
    # A first write may find the server still at what the others left.
    eventually(single, store, 1)
    own_server.pause()
    limited(10)
    own_server.resume()
    eventually(single, store, 10)
    assert own_server.client().dbsize() == 10


class Cutting(Proxy):
    """Cuts the connection once, in the middle of the reply to the first rows that were written."""

    def __init__(self, port: int, kept: int) -> None:
        super().__init__(port)
        self._kept = kept
        self.has_cut = False

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        for chunk in chunks(server):
            written = any(2 * reply in chunk for reply in (b":6\r\n", b":1\r\n", b"+OK\r\n"))
            if written and not self.has_cut:
                self.has_cut = True
                client.sendall(chunk[: self._kept])
                break
            client.sendall(chunk)
        shut(client)


@both_modes
@pytest.mark.parametrize("restores", [False, True], ids=["hset", "restore"])
@pytest.mark.parametrize("kept", [0, 1, 50])
def test_a_connection_that_is_cut(
    server: RedisServer, tmp_path: Path, atomic: bool, restores: bool, kept: int
) -> None:
    with closing(Cutting(server.port, kept)) as proxy:
        settings = {"atomic_writes": atomic, "restore_new_keys": restores}
        store = open_store(tmp_path, proxy.address, **settings)
        report = feast_rs.write_batches(store, "stats", batches(4, 1000))
        assert proxy.has_cut
        assert (report.rows_read, report.rows_written) == (4000, 4000)
        assert (report.rows_skipped, report.rows_failed) == (0, 0)
        assert server.client().dbsize() == 4000


class Delaying(Proxy):
    """Keeps the first rows that are written until `release`, as a network does that loses packets
    and sends them again much later."""

    def __init__(self, port: int, command: bytes) -> None:
        super().__init__(port)
        self._command = command
        self._held: list[tuple[socket.socket, bytes]] = []

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        first = self._held[0][0] if self._held else None
        if server is first or (first is None and self._command in chunk):
            self._held.append((server, chunk))
        else:
            server.sendall(chunk)

    def end(self, server: socket.socket) -> None:
        if not self._held or server is not self._held[0][0]:
            super().end(server)

    def release(self) -> None:
        """Delivers what was kept, and waits until the server has had it."""
        assert self._held
        server = self._held[0][0]
        with suppress(OSError):
            for _, chunk in self._held:
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while server.recv(1 << 16):
                pass


@pytest.mark.parametrize("command", [b"HSET", b"RESTORE"])
def test_commands_that_arrive_late_do_no_harm(
    server: RedisServer, tmp_path: Path, command: bytes
) -> None:
    """They were sent again meanwhile, and newer rows after them."""
    restores = command == b"RESTORE"
    with closing(Delaying(server.port, command)) as proxy:
        store = open_store(tmp_path, proxy.address, socket_timeout=0.3, restore_new_keys=restores)
        data = [record_batch([(1, stamp)]) for stamp in (5, 9)]
        report = feast_rs.write_batches(store, "stats", data)
        assert (report.rows_written, report.rows_skipped) == (2, 0)
        proxy.release()
        assert stored_stamps(open_store(tmp_path, server.address)) == {1: 9}


def test_the_same_report_whatever_happened(own_server: RedisServer, tmp_path: Path) -> None:
    """Rows of the same entities, again and again, while connections are killed."""
    store = open_store(tmp_path, own_server.address, client_name="victim")
    admin = own_server.client()

    def data() -> Iterator[pa.RecordBatch]:
        for stamp in range(20):
            yield record_batch([(driver, stamp) for driver in range(50)])
            for client in admin.client_list():
                if client["name"] == "victim" and stamp % 3 == 0:
                    admin.client_kill_filter(_id=client["id"])

    report = feast_rs.write_batches(store, "stats", data())
    assert report.rows_read == 1000
    assert report.rows_written + report.rows_skipped == 1000
    assert stored_stamps(store) == dict.fromkeys(range(50), 19)


def test_no_password_is_told(tmp_path: Path) -> None:
    with closing(RedisServer("--requirepass", PASSWORD)) as server:
        store = open_store(tmp_path, server.address, password=PASSWORD)
        single(store, 1)
        admin = redis.Redis(port=server.port, password=PASSWORD)
        admin.config_set("maxmemory", 1)
        for write in (stream, single, single_async):
            fails(feast_rs.ServerError, write, store, 5, words=("OOM",))
        server.kill()
        for write in (stream, single, single_async):
            fails(feast_rs.ConnectionError, write, store, 5, words=(server.address,))
        wrong = open_store(tmp_path, server.address, password=PASSWORD + "0")
        server.start()
        for write in (stream, single, single_async):
            fails(feast_rs.ServerError, write, wrong, 5, words=("WRONGPASS",))


# Streams: signals, forks, threads and memory


def row_writer(store: FeatureStore) -> RowWriter:
    online_store = store._get_provider().online_store
    return RowWriter(online_store, store.config, store.get_feature_view("stats"))


def test_an_interrupt_ends_a_stream(own_server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, own_server.address)
    endless = iter(lambda: batches(1, 2000)[0], None)
    own_server.pause()
    with later(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)):
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            feast_rs.write_batches(store, "stats", endless)
    assert time.monotonic() - start < 5, "the time limits were waited for"
    assert no_writer_is_left()
    own_server.resume()
    single(store, 10)
    assert own_server.client().exists(redis_key(FIRST))


def test_an_interrupt_ends_the_wait_for_the_last_reply(
    own_server: RedisServer, tmp_path: Path
) -> None:
    store = open_store(tmp_path, own_server.address)

    def write() -> None:
        with row_writer(store) as writer:
            own_server.pause()
            writer.write(batches(1, 10)[0])
            with later(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)):
                writer.finish()

    with pytest.raises(KeyboardInterrupt):
        write()
    assert no_writer_is_left()


def test_a_handler_that_asks_for_progress(own_server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, own_server.address)
    seen: list[feast_rs.WriteReport] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(writer.progress()))
    try:
        with row_writer(store) as writer:
            writer.write(batches(1, 10)[0])
            own_server.pause()
            interrupt = later(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1))
            with interrupt, later(0.6, own_server.resume):
                for batch in batches(20, 2000):
                    writer.write(batch)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 1
    assert own_server.client().dbsize() == 40_000


def test_memory_is_bounded_while_the_server_is_silent(
    own_server: RedisServer, tmp_path: Path
) -> None:
    store = open_store(tmp_path, own_server.address)
    taken = [0]
    batch = batches(1, 4096)[0]

    def data() -> Iterator[pa.RecordBatch]:
        for place in range(30):
            taken[0] = place + 1
            drivers = pa.array(range(place * 4096, (place + 1) * 4096))
            yield batch.set_column(0, "driver_id", drivers)

    reports: list[feast_rs.WriteReport] = []
    own_server.pause()
    thread = threading.Thread(
        target=lambda: reports.append(feast_rs.write_batches(store, "stats", data()))
    )
    thread.start()
    before = -1
    while before != taken[0] or before == 0:
        before = taken[0]
        time.sleep(0.5)
    assert before < 10
    own_server.resume()
    thread.join()
    assert reports[0].rows_written == 30 * 4096


def test_no_thread_is_left(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address)
    writer = row_writer(store)
    writer.write(batches(1, 10)[0])
    # A thread takes its name when it first runs.
    end = time.monotonic() + 10
    while not writers_alive() and time.monotonic() < end:
        time.sleep(0.01)
    assert writers_alive() == 1
    assert writer.finish().rows_written == 10
    assert no_writer_is_left()
    assert writer.finish().rows_written == 10
    with pytest.raises(feast_rs.ArgumentError, match="finished"):
        writer.write(batches(1, 1)[0])
    writer.abort()
    assert writer.finish().rows_written == 10

    with row_writer(store) as writer:
        writer.write(batches(1, 10, stamp=2)[0])
        writer.abort()
        assert no_writer_is_left()
        with pytest.raises(feast_rs.ArgumentError, match="aborted"):
            writer.write(batches(1, 1)[0])
        with pytest.raises(feast_rs.FeastRsError, match="aborted"):
            writer.finish()

    def left_by_an_exception() -> None:
        with row_writer(store) as writer:
            writer.write(batches(1, 10, stamp=3)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        left_by_an_exception()
    assert no_writer_is_left()

    def failing() -> Iterator[pa.RecordBatch]:
        yield batches(1, 10)[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        feast_rs.write_batches(store, "stats", failing())
    assert no_writer_is_left()
    with pytest.raises(feast_rs.ArgumentError):
        feast_rs.write_batches(store, "stats", pa.table({"driver_id": [1]}))
    assert no_writer_is_left()
    writer = row_writer(store)
    del writer
    assert no_writer_is_left(within=10)


def test_a_fork_on_the_way(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address)
    with row_writer(store) as writer:
        writer.write(batches(1, 10)[0])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                for use in (lambda: writer.write(batches(1, 1)[0]), writer.progress, writer.finish):
                    with pytest.raises(feast_rs.ArgumentError, match="parent process"):
                        use()
                writer.abort()
                del writer
                new = [record_batch([(5000, 1)])]
                assert feast_rs.write_batches(store, "stats", new).rows_written == 1
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0
        writer.write(record_batch([(6000, 1)]))
        assert writer.finish().rows_written == 11
    assert server.client().dbsize() == 12
