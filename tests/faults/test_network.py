"""A network that delays, throttles, cuts and half-closes, under load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.workload import LIMIT_MS, Workload
from tests.support.proxy import Proxy
from tests.support.server import RedisServer

OVER_LIMIT = LIMIT_MS / 1000 + 0.2


@pytest.fixture
def proxy(own_server: RedisServer) -> Iterator[Proxy]:
    """A proxy before a server."""
    with closing(Proxy(own_server.port)) as proxy:
        yield proxy


def test_delayed(proxy: Proxy, tmp_path: Path) -> None:
    with Workload(tmp_path, proxy.address, [proxy.address]) as load:
        load.run(0.5)
        # Twice of this, and for a new connection the login before it, is within the limit.
        proxy.delay = 0.02
        load.run(1)
        for _ in range(2):
            with load.outage():
                proxy.delay = OVER_LIMIT
                time.sleep(1.5)
                proxy.delay = 0
            load.run(0.5)


def test_throttled(proxy: Proxy, tmp_path: Path) -> None:
    with Workload(tmp_path, proxy.address, [proxy.address]) as load:
        load.run(0.5)
        for rate in (1_000_000, 500):
            with load.outage(must_fail=rate < 1000):
                proxy.rate = rate
                time.sleep(1.5)
                proxy.rate = None


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_cut(proxy: Proxy, tmp_path: Path, reset: bool) -> None:
    with Workload(tmp_path, proxy.address, [proxy.address]) as load:
        load.run(0.5)
        for _ in range(20):
            with load.outage(must_fail=False, calm=0.05):
                proxy.cut(reset)
        # And nobody lets them in again for a while.
        for _ in range(2):
            with load.outage():
                proxy.refuses = True
                proxy.cut(reset)
                time.sleep(0.7)
                proxy.refuses = False


def test_cut_within_a_reply(proxy: Proxy, tmp_path: Path) -> None:
    with Workload(tmp_path, proxy.address, [proxy.address]) as load:
        load.run(0.5)
        for kept in (1, 30, 200):
            with load.outage(must_fail=kept < 200):
                proxy.meddle = lambda reply, kept=kept: [reply[:kept], None]
                time.sleep(0.5)
                proxy.meddle = None


def test_half_closed(proxy: Proxy, tmp_path: Path) -> None:
    with Workload(tmp_path, proxy.address, [proxy.address]) as load:
        load.run(0.5)
        for _ in range(20):
            with load.outage(must_fail=False, calm=0.05):
                proxy.half_close()
