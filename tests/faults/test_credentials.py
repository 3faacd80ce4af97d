"""Passwords and certificates that are replaced under load."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults import tokens
from tests.faults.workload import Workload
from tests.support.certificates import Certificates
from tests.support.cluster import Cluster
from tests.support.server import RedisServer, speaks_tls

FIRST, SECOND, THIRD = "f1rst,=@:%/", "s3cond,=@:%/", "th1rd,=@:%/"
LIFE = 2.0
"""Seconds that a password of the provider's lives."""

over_tls = pytest.mark.skipif(not speaks_tls(), reason="the embedded Valkey speaks no TLS")


def disconnect(admin: redis.Redis) -> None:
    """Ends all connections but this one, as a cloud does when credentials are replaced."""
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    """A server that asks for a password."""
    with closing(RedisServer(password=FIRST)) as server:
        yield server


@pytest.mark.parametrize("redis_type", ["redis", "redis_cluster"])
def test_password_rotated(redis_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is valid before the old one ends: nobody notices."""
    token = tmp_path / "token"
    token.write_text(f"{FIRST} {LIFE}")
    monkeypatch.setenv(tokens.FILE, str(token))
    with contextlib.ExitStack() as stack:
        servers: list[RedisServer]
        if redis_type == "redis":
            servers = [stack.enter_context(closing(RedisServer(password=FIRST)))]
        else:
            servers = [*stack.enter_context(closing(Cluster(3, 0, password=FIRST))).nodes]
        admins = [stack.enter_context(server.client()) for server in servers]
        addresses = [server.address for server in servers]
        load = stack.enter_context(
            Workload(
                tmp_path,
                addresses[0],
                addresses,
                secrets=[FIRST, SECOND, THIRD],
                redis_type=redis_type,
                credential_provider="tests.faults.tokens:current",
            )
        )
        load.run(1)
        for old, new in ((FIRST, SECOND), (SECOND, THIRD)):
            for admin in admins:
                admin.execute_command("ACL", "SETUSER", "default", f">{new}")
            token.write_text(f"{new} {LIFE}")
            load.run(LIFE)
            for admin in admins:
                admin.execute_command("ACL", "SETUSER", "default", f"<{old}")
                disconnect(admin)
            load.run(0.5)


def test_password_replaced_at_once(
    guarded: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one at hand is refused long before its time, and the provider knows another."""
    token = tmp_path / "token"
    token.write_text(f"{FIRST} 1000")
    monkeypatch.setenv(tokens.FILE, str(token))
    with (
        guarded.client() as admin,
        Workload(
            tmp_path,
            guarded.address,
            [guarded.address],
            secrets=[FIRST, SECOND],
            credential_provider="tests.faults.tokens:current",
        ) as load,
    ):
        load.run(1)
        with load.outage():
            admin.config_set("requirepass", SECOND)
            disconnect(admin)
            time.sleep(0.5)
            token.write_text(f"{SECOND} 1000")


def test_user_deleted_and_made_again(own_server: RedisServer, tmp_path: Path) -> None:
    make = ("ACL", "SETUSER", "feast", "reset", "on", f">{FIRST}", "~*", "+@all")
    with own_server.client() as admin:
        admin.execute_command(*make)
        with Workload(
            tmp_path,
            own_server.address,
            [own_server.address],
            secrets=[FIRST],
            username="feast",
            password=FIRST,
        ) as load:
            load.run(1)
            for _ in range(2):
                with load.outage():
                    # Which ends the user's connections.
                    admin.execute_command("ACL", "DELUSER", "feast")
                    time.sleep(0.7)
                    admin.execute_command(*make)
            with load.outage():
                # Logged in as before, and refused at each command.
                admin.execute_command("ACL", "SETUSER", "feast", "-@all")
                time.sleep(0.7)
                admin.execute_command("ACL", "SETUSER", "feast", "+@all")


def reload(admin: redis.Redis, certificates: Certificates) -> None:
    """Has the server read its files again."""
    admin.execute_command(
        *("CONFIG", "SET", "tls-cert-file", str(certificates.server)),
        *("tls-key-file", str(certificates.server_key)),
        *("tls-ca-cert-file", str(certificates.authority)),
    )


def tls(certificates: Certificates, authority: Path) -> dict[str, Any]:
    """Settings of a client with a certificate."""
    return {
        "ssl": True,
        "ssl_ca_certs": str(authority),
        "ssl_certfile": str(certificates.client),
        "ssl_keyfile": str(certificates.client_key),
    }


@over_tls
def test_certificates_renewed(tmp_path: Path) -> None:
    """The server's, and the client's, by the same authority: nobody notices."""
    certificates = Certificates(tmp_path / "certificates")
    with (
        closing(RedisServer("--tls-auth-clients", "yes", certificates=certificates)) as server,
        server.client() as admin,
    ):
        settings = tls(certificates, certificates.authority)
        with Workload(tmp_path, server.address, [server.address], **settings) as load:
            load.run(1)
            for _ in range(2):
                certificates.renew()
                reload(admin, certificates)
                disconnect(admin)
                load.run(1)


@over_tls
def test_authority_replaced(tmp_path: Path) -> None:
    """Whoever still trusts the old one is told so, until its file has the new one."""
    certificates = Certificates(tmp_path / "certificates")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(certificates.authority, trusted)
    with (
        closing(RedisServer(certificates=certificates)) as server,
        server.client() as admin,
    ):
        # Connected while the server's certificate is of the authority that the file has.
        admin.ping()
        settings = {"ssl": True, "ssl_ca_certs": str(trusted)}
        with Workload(tmp_path, server.address, [server.address], **settings) as load:
            load.run(1)
            with load.outage():
                certificates.replace()
                reload(admin, certificates)
                disconnect(admin)
                time.sleep(0.7)
                shutil.copy(certificates.authority, trusted)
