"""A cluster whose nodes die, stop and change places, and whose slots move, under load."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.workload import LIMIT_MS, Workload
from tests.support.certificates import Certificates
from tests.support.cluster import NODE_TIMEOUT_MS, Cluster
from tests.support.server import speaks_tls

NODE_TIMEOUT = NODE_TIMEOUT_MS / 1000
PASSWORD = "s3cret,=@:%/1"


def workload(directory: Path, cluster: Cluster, **settings: Any) -> Workload:
    """The workers on a cluster."""
    return Workload(
        directory,
        settings.pop("connection_string", cluster.connection_string),
        cluster.addresses,
        replicated=cluster.nodes,
        redis_type="redis_cluster",
        **settings,
    )


def test_nothing_happens(cluster: Cluster, tmp_path: Path) -> None:
    """One node is enough to start with."""
    with workload(tmp_path, cluster, connection_string=cluster.nodes[4].announced) as load:
        load.run(2)


def test_primary_killed_and_replaced(cluster: Cluster, tmp_path: Path) -> None:
    with workload(tmp_path, cluster) as load:
        load.run(1)
        for shard in (0, 1):
            with load.outage():
                old = cluster.primary(shard)
                old.kill()
                cluster.wait_promoted(shard, old)
            # It comes back with the past, and takes itself for a primary until it is told.
            with load.doubtful(), load.outage(must_fail=False):
                old.start()
                cluster.wait_ok()


@pytest.mark.parametrize("full_coverage", [False, True], ids=["partial", "full coverage"])
def test_primary_killed_and_restarted(tmp_path: Path, full_coverage: bool) -> None:
    """Nobody takes over: no other node has the data."""
    with (
        closing(Cluster(3, 0, full_coverage=full_coverage)) as cluster,
        workload(tmp_path, cluster) as load,
    ):
        load.run(1)
        for shard in (2, 0):
            with load.outage():
                node = cluster.primary(shard)
                node.kill()
                time.sleep(1.5 * NODE_TIMEOUT)
                node.start()
                # It does not serve before it has been in touch with the others for a while.
                cluster.wait_ok()


def test_node_paused(cluster: Cluster, tmp_path: Path) -> None:
    """Not long enough for the others to give it up."""
    with workload(tmp_path, cluster) as load:
        load.run(1)
        for shard in (0, 1, 2):
            with load.outage():
                node = cluster.primary(shard)
                node.pause()
                time.sleep(0.6 * NODE_TIMEOUT)
                node.resume()


def test_node_paused_and_replaced(cluster: Cluster, tmp_path: Path) -> None:
    with workload(tmp_path, cluster) as load:
        load.run(1)
        old = cluster.primary(1)
        with load.outage():
            old.pause()
            cluster.wait_promoted(1, old)
        # What it had been asked before, it answers now.
        with load.doubtful(), load.outage(must_fail=False):
            old.resume()
            cluster.wait_ok()


def test_replica_killed(cluster: Cluster, tmp_path: Path) -> None:
    """Nobody reads from it."""
    with workload(tmp_path, cluster) as load:
        load.run(0.5)
        replica = cluster.replica(0)
        replica.kill()
        load.run(1.5 * NODE_TIMEOUT)
        replica.start()
        cluster.wait_ok()


def test_failover(cluster: Cluster, tmp_path: Path) -> None:
    """In agreement with the old primary, which is what a planned one is: nobody notices."""
    with workload(tmp_path, cluster) as load:
        load.run(1)
        for shard in (0, 1, 2, 0):
            cluster.fail_over(shard)
            load.run(0.5)
        cluster.wait_ok()


@pytest.mark.parametrize("how", ["FORCE", "TAKEOVER"])
def test_forced_failover(cluster: Cluster, tmp_path: Path, how: str) -> None:
    """Without asking the old primary, which goes on until it is told."""
    with workload(tmp_path, cluster) as load:
        load.run(1)
        for shard in (0, 1, 2):
            with load.doubtful(), load.outage(must_fail=False):
                cluster.fail_over(shard, how)
                cluster.wait_ok()


# A replica of the old owner does not know what has gone, and must not be believed.
@pytest.mark.parametrize("read_from", ["primary", "replica"])
def test_slots_migrated(cluster: Cluster, tmp_path: Path, read_from: str) -> None:
    fresh = read_from == "primary"
    with workload(tmp_path, cluster, read_from=read_from, fresh=fresh) as load:
        load.run(0.5)
        slots = cluster.used_slots(0)[:50]
        for source, target in ((0, 1), (1, 2), (2, 0)):
            assert cluster.migrate(slots, source, target) >= len(slots) > 30
            load.run(0.3)


@pytest.mark.parametrize("read_from", ["primary", "replica"])
def test_half_migrated(cluster: Cluster, tmp_path: Path, read_from: str) -> None:
    """A migration that stands still: every key that has moved is asked for twice."""
    fresh = read_from == "primary"
    with workload(tmp_path, cluster, read_from=read_from, fresh=fresh) as load:
        load.run(0.5)
        slots = cluster.used_slots(2)[:20]
        assert cluster.begin_migration(slots, 2, 0) >= len(slots) > 10
        load.run(2)
        cluster.migrate(slots, 2, 0)
        load.run(0.5)
        cluster.migrate(slots, 0, 2)


def test_network(proxied_cluster: Cluster, tmp_path: Path) -> None:
    with workload(tmp_path, proxied_cluster) as load:
        load.run(0.5)
        proxies = [node.proxy for node in proxied_cluster.primaries() if node.proxy]
        for proxy in proxies:
            with load.outage(must_fail=False):
                proxy.cut()
            with load.outage(must_fail=False):
                proxy.half_close()
            with load.outage():
                proxy.delay = LIMIT_MS / 1000 + 0.1
                time.sleep(0.6)
                proxy.mend()
        with load.outage():
            for proxy in proxies:
                proxy.refuses = True
                proxy.cut(reset=True)
            time.sleep(0.7)
            for proxy in proxies:
                proxy.mend()


def test_all_restarted(tmp_path: Path) -> None:
    with closing(Cluster(3, 0)) as cluster, workload(tmp_path, cluster) as load:
        load.run(1)
        with load.outage():
            for node in cluster.nodes:
                node.kill()
            for node in cluster.nodes:
                node.start()
            cluster.wait_ok()


@pytest.mark.skipif(not speaks_tls(), reason="the embedded Valkey speaks no TLS")
def test_failover_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    with (
        closing(Cluster(certificates=certificates, password=PASSWORD)) as cluster,
        workload(
            tmp_path,
            cluster,
            ssl=True,
            ssl_ca_certs=str(certificates.authority),
            password=PASSWORD,
            secrets=[PASSWORD],
        ) as load,
    ):
        load.run(1)
        cluster.fail_over(0)
        load.run(0.5)
        with load.outage():
            old = cluster.primary(1)
            old.kill()
            cluster.wait_promoted(1, old)
