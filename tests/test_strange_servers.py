"""Something between us and Redis, or in its place, that answers wrongly, slowly or not at all."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import feast_rs
from tests.support.drivers import Read, both_forms, check, filled_store, open_store, row
from tests.support.proxy import PONG, Piece, Proxy
from tests.support.server import RedisServer

TOLERANCE = 0.5


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    with closing(Proxy(server.port)) as proxy:
        yield proxy


def half(reply: bytes) -> bytes:
    return reply[: len(reply) // 2]


def head(reply: bytes) -> bytes:
    """The array's length: which it is depends on the command that was chosen."""
    return reply[: reply.index(b"\n") + 1]


def drip(reply: bytes) -> Iterator[Piece]:
    for place in range(len(reply)):
        yield reply[place : place + 1]
        yield 0.05


Meddle = Callable[[bytes], Iterable[Piece]]

TIME_LIMITS: dict[str, tuple[Meddle, str]] = {
    "silence": (lambda reply: [], "400 ms (socket_timeout)"),
    "half a reply, then silence": (lambda reply: [half(reply)], "400 ms (socket_timeout)"),
    "all but the last byte": (lambda reply: [reply[:-1]], "400 ms (socket_timeout)"),
    "drop by drop": (drip, "request_timeout_ms = 700"),
    "a value without end": (
        lambda reply: [head(reply) + b"$1000000\r\n" + b"x" * 5000],
        "400 ms (socket_timeout)",
    ),
}

BROKEN: dict[str, Meddle] = {
    "hanging up": lambda reply: [None],
    "hanging up half-way": lambda reply: [half(reply), None],
    "hanging up half-way, slowly": lambda reply: [half(reply), 0.1, None],
}

WRONG: dict[str, Meddle] = {
    "text": lambda reply: [b"hello world\r\n"],
    "zeros": lambda reply: [bytes(64)],
    "a line without end": lambda reply: [b"*" + b"1" * 200_000],
    "a number": lambda reply: [b":1\r\n"],
    "a string": lambda reply: [b"$2\r\nhi\r\n"],
    "nil": lambda reply: [b"*-1\r\n"],
    "an odd hash": lambda reply: [b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"],
    "a negative length": lambda reply: [head(reply) + b"$-7\r\n"],
    "a length beyond 64 bits": lambda reply: [head(reply) + b"$99999999999999999999\r\n"],
    "a hash beyond 64 bits": lambda reply: [b"*99999999999999999999\r\n"],
    "a wrong length": lambda reply: [reply.replace(b"$4", b"$3")],
    "one reply more": lambda reply: [reply + reply],
    "RESP3": lambda reply: [b"%" + reply[1:]],
}


@both_forms
@pytest.mark.parametrize("fault", TIME_LIMITS)
def test_time_limits_hold(
    server: RedisServer, proxy: Proxy, tmp_path: Path, read: Read, fault: str
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, proxy.address, socket_timeout=0.4, request_timeout_ms=700)
    check(store, read)
    proxy.meddle, words = TIME_LIMITS[fault]
    start = time.monotonic()
    with pytest.raises(feast_rs.TimeoutError) as raised:
        read(store, range(40))
    assert time.monotonic() - start < 0.7 + TOLERANCE
    assert words in str(raised.value)
    assert proxy.address in str(raised.value)
    proxy.meddle = None
    check(store, read)


@both_forms
@pytest.mark.parametrize("fault", BROKEN)
def test_the_end_of_a_connection(
    server: RedisServer, proxy: Proxy, tmp_path: Path, read: Read, fault: str
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, proxy.address)
    check(store, read)
    proxy.meddle = BROKEN[fault]
    with pytest.raises(feast_rs.ConnectionError, match=proxy.address):
        read(store, range(40))
    proxy.meddle = None
    check(store, read)


@both_forms
@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_reply(
    server: RedisServer, proxy: Proxy, tmp_path: Path, read: Read, fault: str
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, proxy.address, request_timeout_ms=3000)
    check(store, read)
    proxy.meddle = WRONG[fault]
    with pytest.raises(feast_rs.ProtocolError, match=proxy.address):
        read(store, range(40))
    proxy.meddle = None
    check(store, read)


@both_forms
def test_a_reply_in_pieces_is_a_reply(
    server: RedisServer, proxy: Proxy, tmp_path: Path, read: Read
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, proxy.address)
    check(store, read)

    def in_pieces(reply: bytes) -> Iterator[Piece]:
        for place in range(0, len(reply), 7):
            yield reply[place : place + 7]
            yield 0.0005

    proxy.meddle = in_pieces
    check(store, read, [3, 4, 5])


@both_forms
def test_a_late_reply_is_not_the_next_requests(
    server: RedisServer, proxy: Proxy, tmp_path: Path, read: Read
) -> None:
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, proxy.address, request_timeout_ms=150)
    check(store, read)
    proxy.meddle = lambda reply: [0.3, reply]
    with pytest.raises(feast_rs.TimeoutError):
        read(store, [1])
    proxy.meddle = None
    check(store, read, [2])
    time.sleep(0.3)
    check(store, read, [3])


@both_forms
def test_a_web_server(tmp_path: Path, read: Read) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{web.server_port}"
        store = open_store(tmp_path, address, request_timeout_ms=3000)
        with pytest.raises(feast_rs.ProtocolError, match=address):
            read(store, [1])
        web.shutdown()


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers "400 Bad Request" to whatever is no HTTP."""

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@both_forms
def test_a_listener_that_never_answers(tmp_path: Path, read: Read) -> None:
    with closing(RedisServer()) as server, closing(Proxy(server.port)) as proxy:
        server.pause()
        store = open_store(tmp_path, proxy.address, socket_connect_timeout=0.3)
        start = time.monotonic()
        with pytest.raises(feast_rs.TimeoutError, match="socket_connect_timeout"):
            read(store, [1])
        assert 0.29 < time.monotonic() - start < 0.3 + TOLERANCE


def test_the_proxy_itself(server: RedisServer, proxy: Proxy, tmp_path: Path) -> None:
    """That the faults above are the proxy's doing, and come at the read, not at the login."""
    store = filled_store(tmp_path, proxy.address)
    seen = []
    proxy.meddle = lambda reply: [seen.append(reply) or reply]
    answer = store.get_online_features(["stats:rate"], [{"driver_id": 7}]).to_dict()
    assert answer["rate"] == [row(7)["rate"]]
    assert len(seen) == 1
    assert seen[0] != PONG
    assert seen[0].startswith(b"*")
