"""The least a writer can do: send prepared HSETs, and drop the replies.

The commands are made of what stock Feast stored, and are ready before the clock starts.
"""

from __future__ import annotations

import threading
import time

from .floor import command
from .server import Server

_PIPELINE = 2000
_CHUNK = 1 << 20


class BareWrite:
    """All hashes of a server, as the commands that write them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._commands = bytearray()
        # Redis answers how many fields are new.
        self._new_bytes = 0
        self.rows = 0
        keys: list[bytes] = []
        for key in server.client.scan_iter(count=_PIPELINE):
            keys.append(key)
            if len(keys) == _PIPELINE:
                self._add(keys)
                keys = []
        self._add(keys)

    def _add(self, keys: list[bytes]) -> None:
        with self._server.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            for key, fields in zip(keys, pipe.execute(), strict=True):
                pairs = [part for pair in fields.items() for part in pair]
                self._commands += command(b"HSET", key, *pairs)
                self._new_bytes += len(b":%d\r\n" % len(fields))
                self.rows += 1

    def __call__(self, *, empty: bool = True) -> float:
        """Writes to the server, which is emptied or has these keys; returns the seconds."""
        if empty:
            self._server.client.flushall()
        due = self._new_bytes if empty else len(b":0\r\n") * self.rows
        with self._server.connect() as sock:
            sender = threading.Thread(target=sock.sendall, args=(self._commands,))
            buffer = bytearray(_CHUNK)
            start = time.perf_counter()
            sender.start()
            received = 0
            while received < due:
                more = sock.recv_into(buffer)
                if not more:
                    raise ConnectionError("The server closed the connection")
                if buffer[0:1] == b"-":
                    raise RuntimeError(f"The server answered {bytes(buffer[:200])!r}")
                received += more
            taken = time.perf_counter() - start
            sender.join()
        return taken
