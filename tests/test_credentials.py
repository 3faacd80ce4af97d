"""Credentials that a Python callable issues, with a real server whose passwords change."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import feast_rs
from tests.support import vault
from tests.support.drivers import (
    both_forms,
    check,
    expected,
    fill,
    open_store,
    read,
    read_async,
)
from tests.support.running import in_threads
from tests.support.server import RedisServer

PATH = "tests.support.vault.issue"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RedisServer]]:
    """A server with rows, and the repository they are of."""
    server = RedisServer()
    directory = tmp_path_factory.mktemp("repository")
    fill(open_store(directory, server.address))
    yield directory, server
    server.close()


class Guarded:
    """A server with rows, whose user `feast` has passwords."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.directory = directory
        self.server = server
        self.admin = redis.Redis(port=server.port)

    def allow(self, *rules: str) -> None:
        """Changes the user's rules; `>p` adds a password and `<p` removes it."""
        self.admin.execute_command("ACL", "SETUSER", vault.USER, *rules)

    def cut_off(self) -> None:
        """Ends all connections of the user."""
        self.admin.execute_command("CLIENT", "KILL", "USER", vault.USER)

    def store(self, **settings: Any) -> Any:
        """A store that logs in with what the vault issues."""
        settings = {"credential_provider": PATH, "username": vault.USER, **settings}
        return open_store(self.directory, self.server.address, **settings)


@pytest.fixture
def guarded(filled: tuple[Path, RedisServer]) -> Guarded:
    guarded = Guarded(*filled)
    guarded.allow("reset", "on", ">one", "~*", "+@all")
    return guarded


ANSWERS: dict[str, Any] = {
    "a password": "one",
    "user and password": (vault.USER, "one"),
    "a list": [vault.USER, "one"],
    "user, password and life": (vault.USER, "one", 900),
    "no user": (None, "one", 0.5),
    "a mapping": {"username": vault.USER, "password": "one", "expires_in": 900},
    "a mapping with a password": {"password": "one"},
}


@both_forms
@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_provider_may_return(guarded: Guarded, name: str, read: Any) -> None:
    vault.reset(ANSWERS[name])
    store = guarded.store()
    assert not vault.calls
    check(store, read)
    assert len(vault.calls) == 1
    assert vault.calls[0][1] != threading.get_ident()
    connected = guarded.admin.client_list()
    assert any(client["user"] == vault.USER for client in connected)


@pytest.mark.parametrize("path", ["tests.support.vault:Tokens.issue", "tests.support.vault:issue"])
def test_how_a_provider_may_be_named(guarded: Guarded, path: str) -> None:
    vault.reset("one")
    check(guarded.store(credential_provider=path), read)


FAULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": (None, feast_rs.ConfigError, "returned NoneType; it must return"),
    "a number": (12345, feast_rs.ConfigError, "returned int"),
    "bytes": (b"s3cret", feast_rs.ConfigError, "returned bytes"),
    "too many": (("a", "s3cret", 1, 2), feast_rs.ConfigError, "returned tuple"),
    "a password of bytes": ((None, b"s3cret"), feast_rs.ConfigError, "a password of type bytes"),
    "a user of a number": ((7, "s3cret"), feast_rs.ConfigError, "a username of type int"),
    "an empty password": ("", feast_rs.ConfigError, "an empty password"),
    "a life of text": (("u", "s3cret", "900"), feast_rs.ConfigError, "number of seconds above 0"),
    "a life of no length": (("u", "s3cret", 0), feast_rs.ConfigError, "number of seconds above 0"),
    "another key": (
        {"password": "s3cret", "token": "s3cret"},
        feast_rs.ConfigError,
        "1 other keys",
    ),
    "an exception": (
        RuntimeError("no route to the token service"),
        feast_rs.ConnectionError,
        "RuntimeError: no route to the token service",
    ),
    "an exit": (SystemExit(3), feast_rs.ConnectionError, "SystemExit: 3"),
}


@both_forms
@pytest.mark.parametrize("name", FAULTS)
def test_what_a_provider_may_not_do(
    guarded: Guarded, name: str, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer, kind, words = FAULTS[name]
    vault.reset(answer)
    with caplog.at_level(logging.WARNING, "feast_rs"), pytest.raises(kind) as caught:
        read(guarded.store(), [1])
    assert f"credential_provider {PATH}: " in str(caught.value)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value) + caplog.text
    # It is logged after the answer was given.
    end = time.monotonic() + 5
    while words not in caplog.text and time.monotonic() < end:
        time.sleep(0.01)
    assert words in caplog.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module.issue", "No module named 'no_such_module'"),
        ("tests.support.vault.no_such_function", "has no attribute 'no_such_function'"),
        ("tests.support.vault:NOT_CALLABLE", "is no function but a str"),
        ("tests.support.vault:issue_async", "must be a plain function"),
    ],
)
def test_a_provider_that_is_none(guarded: Guarded, path: str, words: str) -> None:
    with pytest.raises(feast_rs.ConfigError, match=words) as caught:
        read(guarded.store(credential_provider=path), [1])
    assert path in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_provider_that_recovers(guarded: Guarded) -> None:
    vault.reset(RuntimeError("not yet"))
    store = guarded.store()
    with pytest.raises(feast_rs.ConnectionError, match="not yet"):
        read(store, [1])
    vault.issued = "one"
    check(store, read)


@both_forms
def test_a_slow_provider_keeps_to_the_limit(guarded: Guarded, read: Any) -> None:
    vault.reset("one")
    vault.pause = 1.0
    store = guarded.store(request_timeout_ms=200)
    store.get_feature_view("stats")
    start = time.monotonic()
    with pytest.raises(feast_rs.TimeoutError, match="waiting for credentials"):
        read(store, [1])
    assert time.monotonic() - start < 0.8
    time.sleep(1.0)
    check(store, read)
    assert len(vault.calls) == 1


def test_a_rotation_under_load_drops_no_request(guarded: Guarded) -> None:
    vault.reset((None, "one", 1.3))
    store = guarded.store(redis_pool_size=8)
    check(store, read)
    # Slow from now on, which nobody is to notice.
    vault.pause = 0.9
    done = threading.Event()
    counts: list[int] = []

    def keep_reading() -> None:
        count = 0
        while not done.is_set():
            assert read(store, [count % 400]).to_dict() == expected([count % 400])
            count += 1
        counts.append(count)

    async def keep_reading_async(place: int) -> None:
        count = 0
        while not done.is_set():
            answer = await read_async(store, [place, count % 400])
            assert answer.to_dict() == expected([place, count % 400])
            count += 1
        counts.append(count)

    def loop() -> None:
        async def main() -> None:
            await asyncio.gather(*(keep_reading_async(place) for place in range(16)))

        asyncio.run(main())

    def rotate() -> None:
        try:
            for old, new in (("one", "two"), ("two", "three")):
                guarded.allow(f">{new}")
                vault.issued = (None, new, 1.3)
                time.sleep(2.5)
                guarded.allow(f"<{old}")
                guarded.cut_off()
            time.sleep(0.3)
        finally:
            done.set()

    works = iter([rotate, loop, *[keep_reading] * 8])
    outcomes = in_threads(10, lambda: next(works)())
    assert outcomes == [None] * 10
    assert len(counts) == 24
    assert min(counts) > 0


def test_a_password_that_was_replaced_at_once(guarded: Guarded) -> None:
    vault.reset("one")
    store = guarded.store()
    check(store, read)
    time.sleep(1.1)
    vault.issued = "two"
    guarded.allow("resetpass", ">two")
    guarded.cut_off()
    check(store, read)
    assert len(vault.calls) == 2


def test_credentials_are_renewed_ahead_of_expiry(guarded: Guarded) -> None:
    vault.reset("one")
    store = guarded.store(credential_refresh_seconds=1)
    check(store, read)
    time.sleep(2.5)
    assert 2 <= len(vault.calls) <= 4


def run(script: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fork_asks_for_itself(guarded: Guarded) -> None:
    guarded.store()
    script = """
        import os, sys
        from feast import FeatureStore
        from tests.support import vault
        from tests.support.drivers import check, read
        vault.reset(("feast", "one", 900))
        store = FeatureStore(sys.argv[1])
        check(store, read)
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                vault.calls.clear()
                check(store, read)
                os._exit(0 if len(vault.calls) == 1 else 1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        check(store, read)
        assert len(vault.calls) == 1
        print("done")
    """
    assert run(script, guarded.directory) == "done\n"


def test_the_interpreter_ends_while_a_provider_works(guarded: Guarded) -> None:
    guarded.store(credential_refresh_seconds=1)
    script = """
        import sys, threading, time
        from feast import FeatureStore
        from tests.support import vault
        from tests.support.drivers import check, read
        vault.reset("one")
        store = FeatureStore(sys.argv[1])
        check(store, read)
        vault.pause = 30.0
        time.sleep(1.3)
        assert len(vault.calls) == 2
        print("done")
    """
    start = time.monotonic()
    assert run(script, guarded.directory) == "done\n"
    assert time.monotonic() - start < 25
