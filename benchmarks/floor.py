"""The least a client can do: send the commands, receive the replies, look at nothing.

No reader of the same hashes can be faster, for it has to do this too. So the floor allocates
nothing, knows beforehand how many bytes will come, and lets the kernel fill one buffer.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from .server import Server

_MARKER = b"feast-rs-end-of-replies"
_CHUNK = 1 << 20


def command(*words: bytes) -> bytes:
    """A Redis command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


class BareRead:
    """One pipelined request whose replies have been counted."""

    def __init__(self, sock: socket.socket, commands: Sequence[bytes]) -> None:
        self._sock = sock
        self._request = b"".join(commands)
        self.reply_bytes = self._count()
        self._buffer = memoryview(bytearray(self.reply_bytes))

    @classmethod
    def whole_hashes(cls, server: Server, keys: Sequence[bytes]) -> BareRead:
        """HGETALL of each key."""
        return cls(server.connect(), [command(b"HGETALL", key) for key in keys])

    @classmethod
    def fields(
        cls, server: Server, keys: Sequence[bytes], views: Sequence[Sequence[bytes]]
    ) -> BareRead:
        """What stock Feast sends: for each view in turn, HMGET of its fields from each key."""
        return cls(
            server.connect(),
            [command(b"HMGET", key, *fields) for fields in views for key in keys],
        )

    def _count(self) -> int:
        """Send the request with a marker behind it, and count what comes before the marker."""
        self._sock.sendall(self._request + command(b"ECHO", _MARKER))
        ending = b"$%d\r\n%s\r\n" % (len(_MARKER), _MARKER)
        received = bytearray()
        while not received.endswith(ending):
            chunk = self._sock.recv(_CHUNK)
            if not chunk:
                raise ConnectionError("The server closed the connection")
            received += chunk
        if received.startswith(b"-"):
            raise RuntimeError(f"The server answered {bytes(received[:200])!r}")
        return len(received) - len(ending)

    def spin(self) -> int:
        """The same without ever sleeping: what is left when waking up costs nothing.

        No service would burn a core for as long as a server takes, so this is reported beside the
        floor, not as it.
        """
        self._sock.sendall(self._request)
        self._sock.setblocking(False)
        received = 0
        while received < self.reply_bytes:
            try:
                received += self._sock.recv_into(self._buffer[received:])
            except BlockingIOError:
                continue
        self._sock.setblocking(True)
        return received

    def __call__(self) -> int:
        """Send, and receive all of the replies into the one buffer."""
        self._sock.sendall(self._request)
        received = self._sock.recv_into(self._buffer, self.reply_bytes, socket.MSG_WAITALL)
        while received < self.reply_bytes:
            more = self._sock.recv_into(self._buffer[received:])
            if not more:
                raise ConnectionError("The server closed the connection")
            received += more
        return received
