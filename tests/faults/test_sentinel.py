"""Sentinels that promote a replica, by order and because the primary died, under load."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.workload import Workload
from tests.support.sentinels import MASTER, Sentinels

PASSWORD, SENTINEL_PASSWORD = "s3cret,=@:%/1", "0ther,=@:%/2"


def workload(directory: Path, sentinels: Sentinels, **settings: Any) -> Workload:
    """The workers, who know of the Sentinels only."""
    return Workload(
        directory,
        settings.pop("connection_string", sentinels.connection_string),
        sentinels.addresses,
        replicated=sentinels.servers,
        redis_type="redis_sentinel",
        sentinel_master=MASTER,
        **settings,
    )


def fail_over_twice(load: Workload, sentinels: Sentinels) -> None:
    """There and back. The old primary serves until a Sentinel tells it to follow."""
    for _ in range(2):
        with load.doubtful(), load.outage(must_fail=False):
            sentinels.fail_over()
        sentinels.wait_ok()


def test_forced_failover(sentinels: Sentinels, tmp_path: Path) -> None:
    with workload(tmp_path, sentinels) as load:
        load.run(1)
        fail_over_twice(load, sentinels)


def test_failover_with_passwords(tmp_path: Path) -> None:
    with (
        closing(Sentinels(PASSWORD, SENTINEL_PASSWORD)) as sentinels,
        workload(
            tmp_path,
            sentinels,
            password=PASSWORD,
            sentinel_password=SENTINEL_PASSWORD,
            secrets=[PASSWORD, SENTINEL_PASSWORD],
        ) as load,
    ):
        load.run(1)
        fail_over_twice(load, sentinels)


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_primary_lost(sentinels: Sentinels, tmp_path: Path, how: str) -> None:
    with workload(tmp_path, sentinels) as load:
        load.run(1)
        old = sentinels.primary
        with load.outage():
            if how == "killed":
                old.kill()
            else:
                old.pause()
            sentinels.wait_promoted(old)
        # It takes itself for the primary until a Sentinel tells it.
        with load.doubtful(), load.outage(must_fail=False):
            if how == "killed":
                old.start()
            else:
                old.resume()
            sentinels.wait_ok()


def test_sentinels_lost(sentinels: Sentinels, tmp_path: Path) -> None:
    """The one that is asked first is dead, another one silent; the third tells of a failover."""
    with workload(tmp_path, sentinels) as load:
        load.run(1)
        first, second, _ = sentinels.sentinels
        first.kill()
        load.run(1)
        with load.doubtful(), load.outage(must_fail=False):
            sentinels.fail_over(by=second)
            first.start()
            second.kill()
        with load.doubtful(), load.outage(must_fail=False):
            sentinels.fail_over(by=first)
        second.start()
        sentinels.wait_ok()


def test_replica_killed(sentinels: Sentinels, tmp_path: Path) -> None:
    """Nobody reads from it."""
    with workload(tmp_path, sentinels) as load:
        load.run(0.5)
        (replica,) = [server for server in sentinels.servers if server is not sentinels.primary]
        replica.kill()
        load.run(1.5)
        replica.start()
        sentinels.wait_ok()
