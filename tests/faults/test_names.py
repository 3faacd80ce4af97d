"""A host's name that leads elsewhere than before."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.workload import Workload
from tests.support.cluster import wait_until
from tests.support.server import DURABLE, RedisServer

NAME = "redis.feast-rs.test"
OWN_MOUNTS = ["unshare", "--mount", "mount", "--bind"]


def test_name_moved(tmp_path: Path) -> None:
    """A managed Redis' failover: its name gets another address, and the old server dies."""
    hosts = tmp_path / "hosts"

    def lead_to(server: RedisServer) -> None:
        # In place: the workers have this very file for their /etc/hosts.
        with hosts.open("w") as file:
            file.write(f"127.0.0.1 localhost\n{server.host} {NAME}\n")

    hosts.touch()
    tried = subprocess.run([*OWN_MOUNTS, hosts, "/etc/hosts"], check=False, capture_output=True)
    if tried.returncode != 0:
        pytest.skip("a mount namespace, for an /etc/hosts of its own, is not allowed here")
    with closing(RedisServer(*DURABLE)) as first:
        follow = ("--replicaof", f"{first.host} {first.port}", "--repl-diskless-sync-delay", "0")
        with closing(RedisServer(*DURABLE, *follow, host="127.0.0.2", port=first.port)) as second:
            lead_to(first)
            address = f"{NAME}:{first.port}"
            load = Workload(tmp_path, address, [address], replicated=[first, second], hosts=hosts)
            with load:
                load.run(1)
                with second.client() as admin:
                    wait_until(lambda: admin.role()[3] == b"connected", "the replica's data", 10)
                    with load.outage():
                        first.kill()
                        time.sleep(0.3)
                        admin.replicaof("NO", "ONE")
                        lead_to(second)
