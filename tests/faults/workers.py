"""What reads and writes while servers fail, in a process of its own.

`tests.faults.workload` starts it and sends it commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import redis

import feast_rs
from tests.faults.heartbeat import CoreWait, Heartbeat
from tests.faults.oracle import Oracle
from tests.support.drivers import FEATURES, entity_rows, open_store
from tests.support.races import messages
from tests.support.stores import OURS, feature_store

TOLERANCE = 0.010
"""Seconds that a call may take beyond `request_timeout_ms`."""
OUTAGES = (feast_rs.ConnectionError, feast_rs.TimeoutError, feast_rs.ServerError)
KEPT = 2000
"""Errors and late calls that are kept until they are asked for."""
KINDS = ("thread", "task", "write")
FILES = 1000
"""More than are open at a time."""
ALL = 9
"""More replicas than any primary has."""
# Linux' numbers, of sched.h and sys/mount.h.
_NEW_MOUNTS, _BIND, _RECURSIVE, _PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


class Record:
    """What became of the calls since the last report."""

    def __init__(self, limit: float, addresses: list[str], secrets: list[str]) -> None:
        self.limit = limit
        self.beats = {kind: Heartbeat() for kind in ("thread", "task")}
        self._addresses, self._secrets = addresses, secrets
        self._lock = threading.Lock()
        self._calls = dict.fromkeys(KINDS, 0)
        self._last_good = dict.fromkeys(KINDS, 0.0)
        self._longest = dict.fromkeys(KINDS, 0.0)
        self._failed = 0
        self._clear()

    def _clear(self) -> None:
        self._errors: list[tuple[float, float, str, str]] = []
        self._late: list[tuple[str, float, float, float]] = []
        self._wrong: list[str] = []

    def took(
        self, kind: str, begin: float, end: float, error: Exception | None, waited: float = 0.0
    ) -> None:
        """Takes note of a call that ended, whose thread was without a core for `waited`."""
        with self._lock:
            self._calls[kind] += 1
            self._longest[kind] = max(self._longest[kind], end - begin)
            if kind != "write" and end - begin > self.limit + TOLERANCE and len(self._late) < KEPT:
                self._late.append((kind, begin, end, waited))
            if error is None:
                self._last_good[kind] = max(self._last_good[kind], begin)
                return
            self._failed += 1
            if len(self._errors) < KEPT:
                text = f"{type(error).__name__}: {error}"[:400]
                self._errors.append((begin, end, kind, text))
        self._judge(error)

    def _judge(self, error: Exception) -> None:
        words = f"{error} {error!r}"
        if not isinstance(error, OUTAGES):
            self.wrong(f"an error that is no outage's: {error!r}")
        elif not any(address in words for address in self._addresses):
            self.wrong(f"an error without an address: {error!r}")
        elif any(secret in words for secret in self._secrets):
            self.wrong(f"an error of {type(error).__name__} that tells a secret")

    def wrong(self, *faults: str) -> None:
        """Takes note of answers that are not right."""
        with self._lock:
            self._wrong += faults[: KEPT - len(self._wrong)]

    def report(self) -> dict[str, Any]:
        """All of it; errors, late calls and wrong answers only those since the last report."""
        with self._lock:
            errors, late, wrong = self._errors, self._late, self._wrong
            self._clear()
        return {
            "now": time.monotonic(),
            "calls": self._calls,
            "failed": self._failed,
            "last_good": self._last_good,
            "longest": self._longest,
            "errors": errors,
            "wrong": wrong,
            "late": [self._overtime(*call) for call in late],
        }

    def _overtime(self, kind: str, begin: float, end: float, waited: float) -> dict[str, Any]:
        net = self.beats[kind].overtime(begin, end, self.limit, waited)
        return {"kind": kind, "at": begin, "over": end - begin - self.limit, "net": net}


class Replicas:
    """Waits until the replicas have what their primaries acknowledged."""

    def __init__(self, servers: list[dict[str, Any]]) -> None:
        self._clients = [
            redis.Redis(**server, socket_timeout=0.3, socket_connect_timeout=0.3, retry=None)
            for server in servers
        ]

    def have_all(self, each: bool = False) -> bool:
        """Whether all primaries answer, and one replica of theirs (or `each`) has their data."""
        if not self._clients:
            return True
        primaries = 0
        for client in self._clients:
            try:
                with client.pipeline(transaction=False) as pipe:
                    state, copies = (
                        pipe.role().wait(ALL if each else 1, 200).execute(raise_on_error=False)
                    )
            except redis.RedisError:
                return False
            if isinstance(copies, redis.RedisError):
                continue
            primaries += 1
            if copies < (len(state[2]) if each else min(len(state[2]), 1)):
                return False
        return primaries > 0


class Workers:
    """Threads and tasks that read, and a thread and a task that write."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        store_settings = settings["store"]
        kind = store_settings.pop("type", OURS)
        address = store_settings.pop("connection_string")
        self.store = open_store(directory, address, type=kind, **store_settings)
        self._newest_wins = kind == OURS
        ours = {"atomic_writes": True} if self._newest_wins else {}
        self._atomic = feature_store(kind, directory, address, **ours, **store_settings)
        self._entities = settings["entities"]
        self._pace = settings["pace"]
        self._counts = settings["threads"], settings["tasks"]
        self.oracle = Oracle(self._entities, settings["fresh"])
        self.record = Record(settings["limit"], settings["addresses"], settings["secrets"])
        self._replicas = [Replicas(settings["replicated"]) for _ in range(2)]
        self._view = self.store.get_feature_view("stats")
        self._gate = threading.Event()
        self._busy = [False] * (sum(self._counts) + 2)

    def fill(self) -> None:
        """Writes the first row of each entity."""
        rows = self.oracle.issue(range(self._entities))
        provider = self._atomic._get_provider()
        provider.online_write_batch(self._atomic.config, self._view, messages(rows), None)
        # Replicas that are synchronized first may be a second behind.
        while not self._replicas[0].have_all(each=True):
            time.sleep(0.05)
        self.oracle.acknowledge(rows, self.oracle.doubts())

    def start(self) -> None:
        """Starts everything; `go` opens the gate."""
        threads, tasks = self._counts
        self.record.beats["thread"].start_thread()
        places = range(threads)
        for place in places:
            threading.Thread(target=self._read_on, args=(place,), daemon=True).start()
        threading.Thread(target=self._write_on, args=(threads + tasks,), daemon=True).start()
        threading.Thread(target=lambda: asyncio.run(self._tasks()), daemon=True).start()

    async def _tasks(self) -> None:
        threads, tasks = self._counts
        places = range(threads, threads + tasks)
        await asyncio.gather(
            self.record.beats["task"].beat(),
            *(self._read_on_async(place) for place in places),
            self._write_on_async(threads + tasks + 1),
        )

    def go(self) -> None:
        self._gate.set()

    def park(self) -> None:
        """Lets the calls under way end, and none begin."""
        self._gate.clear()
        while any(self._busy):
            time.sleep(0.005)

    def _enters(self, place: int) -> bool:
        """Whether the worker may begin a call now."""
        self._busy[place] = True
        if self._gate.is_set():
            return True
        self._busy[place] = False
        return False

    def _leave(self, place: int) -> float:
        """Ends a turn; seconds until the next one."""
        self._busy[place] = False
        return random.uniform(0.5, 1.5) * self._pace

    # Reads

    def _choose(self) -> tuple[list[int], list[int], int | None]:
        entities = random.sample(range(self._entities), random.randint(1, 12))
        return entities, self.oracle.floors(entities), self.oracle.doubts()

    def _read_on(self, place: int) -> None:
        wait = CoreWait()
        while True:
            if not self._enters(place):
                time.sleep(0.005)
                continue
            self.read_once(wait, *self._choose())
            time.sleep(self._leave(place))

    def read_once(
        self, wait: CoreWait, entities: list[int], floors: list[int], doubts: int | None
    ) -> bool:
        """A blocking read that is judged; whether it was answered."""
        rows, error, answer = entity_rows(entities), None, None
        waited = wait.seconds()
        begin = time.monotonic()
        try:
            answer = self.store.get_online_features(FEATURES, rows)
        except Exception as raised:
            error = raised
        end = time.monotonic()
        self.record.took("thread", begin, end, error, wait.seconds() - waited)
        self._check(entities, answer, floors, doubts)
        return answer is not None

    async def _read_on_async(self, place: int) -> None:
        while True:
            if not self._enters(place):
                await asyncio.sleep(0.005)
                continue
            entities, floors, doubts = self._choose()
            rows, error, answer = entity_rows(entities), None, None
            begin = time.monotonic()
            try:
                answer = await self.store.get_online_features_async(FEATURES, rows)
            except Exception as raised:
                error = raised
            self.record.took("task", begin, time.monotonic(), error)
            self._check(entities, answer, floors, doubts)
            await asyncio.sleep(self._leave(place))

    def _check(
        self, entities: list[int], answer: Any, floors: list[int], doubts: int | None
    ) -> None:
        if answer is not None:
            faults = self.oracle.faults(entities, answer.to_dict(True), floors, doubts)
            if faults:
                self.record.wrong(*faults)

    # Writes: the thread those of even entities, newest wins; the task those of odd ones.

    def _write_on(self, place: int) -> None:
        provider = self._atomic._get_provider()
        replicas = self._replicas[0]
        while True:
            if not self._enters(place):
                time.sleep(0.005)
                continue
            doubts, rows, data = self._rows_to_write(0)
            error = None
            begin = time.monotonic()
            try:
                provider.online_write_batch(self._atomic.config, self._view, data, None)
            except Exception as raised:
                error = raised
            self.record.took("write", begin, time.monotonic(), error)
            if error is None and replicas.have_all():
                self.oracle.acknowledge(rows, doubts)
            else:
                self.oracle.fail(rows, may_come_late=not self._newest_wins)
            time.sleep(self._leave(place))

    async def _write_on_async(self, place: int) -> None:
        provider = self.store._get_provider()
        loop, waiting = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        while True:
            if not self._enters(place):
                await asyncio.sleep(0.005)
                continue
            doubts, rows, data = self._rows_to_write(1)
            error = None
            begin = time.monotonic()
            try:
                await provider.online_write_batch_async(self.store.config, self._view, data, None)
            except Exception as raised:
                error = raised
            self.record.took("write", begin, time.monotonic(), error)
            have_all = self._replicas[1].have_all
            if error is None and await loop.run_in_executor(waiting, have_all):
                self.oracle.acknowledge(rows, doubts)
            else:
                self.oracle.fail(rows)
            await asyncio.sleep(self._leave(place))

    def _rows_to_write(self, first: int) -> tuple[int | None, list[tuple[int, int]], list[Any]]:
        entities = range(first, self._entities, 2)
        doubts = self.oracle.doubts()
        rows = self.oracle.issue(random.sample(entities, random.randint(1, 20)))
        return doubts, rows, messages(rows)

    # What is asked when nobody works

    def verify(self) -> bool:
        """Reads every entity; whether all were answered."""
        wait = CoreWait()
        return all(
            self.read_once(wait, entities, self.oracle.floors(entities), self.oracle.doubts())
            for first in range(0, self._entities, 40)
            for entities in [list(range(first, min(first + 40, self._entities)))]
        )

    def resources(self) -> dict[str, int]:
        """What the process holds: not the free pages of its allocator, nor pages of libraries."""
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        process = psutil.Process()
        memory = process.memory_info()
        return {
            "files": process.num_fds(),
            "threads": process.num_threads(),
            "memory": memory.rss - getattr(memory, "shared", 0),
        }


def parked(workers: Workers, work: Callable[[], Any]) -> Any:
    """What `work` gives while no call is under way."""
    workers.park()
    try:
        return work()
    finally:
        workers.go()


def make_room_for_files() -> None:
    """Has the kernel make the process' table of open files as large as it will have to be.

    When it grows later, all threads that open a file or socket meanwhile wait for some 10 to 20 ms,
    since each core must be seen to have left the old one (`expand_fdtable` of Linux).
    """
    os.close(fcntl.fcntl(1, fcntl.F_DUPFD, FILES))


def give_hosts(path: Path) -> None:
    """Gives the process a file of its own in place of /etc/hosts.

    Raises:
        OSError: It has not the right to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for made in (
        libc.unshare(_NEW_MOUNTS),
        # What is mounted here is to be seen here only.
        libc.mount(None, b"/", None, _PRIVATE | _RECURSIVE, None),
        libc.mount(bytes(path), b"/etc/hosts", None, _BIND, None),
    ):
        if made != 0:
            raise OSError(ctypes.get_errno(), "mounting /etc/hosts")


def work(commands: Connection, log: Path, directory: Path, settings: dict[str, Any]) -> None:
    """Runs the workers, and answers to commands until their other end is closed."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(settings["environment"])
    warnings.simplefilter("ignore")
    # A collection need not walk through the modules, for which all threads would stand still.
    gc.freeze()
    random.seed()
    # A thread that waits for the GIL is given it after this time; with ten of them and Python's
    # 5 ms the GIL alone would make calls late.
    sys.setswitchinterval(0.0005)
    make_room_for_files()
    if settings["hosts"] is not None:
        give_hosts(settings["hosts"])
    workers = Workers(directory, settings)
    workers.fill()
    workers.start()
    workers.go()
    answers: dict[str, Callable[[], Any]] = {
        "report": workers.record.report,
        "resources": lambda: parked(workers, workers.resources),
        "verify": lambda: parked(workers, workers.verify),
        "doubt": lambda: workers.oracle.doubt(True),
        "trust": lambda: workers.oracle.doubt(False),
    }
    commands.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            commands.send(answers[commands.recv()]())
    os._exit(0)
