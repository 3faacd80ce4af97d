"""Features read inside requests: FastAPI, uvicorn, gunicorn with forked workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from tests.support.drivers import expected, filled_store
from tests.support.server import RedisServer, free_port

ROOT = Path(__file__).parent.parent
FORMS = ["/async", "/sync", "/twice"]


def is_right(response: httpx.Response, drivers: list[int]) -> bool:
    """Whether a response is the right answer, in JSON's types."""
    right = expected(drivers)
    right["seen"] = [seen and seen.isoformat().replace("+00:00", "Z") for seen in right["seen"]]
    answer = response.json()
    answer.pop("process")
    return response.status_code == 200 and answer == right


@contextlib.contextmanager
def serving(directory: Path, *command: str, **environment: str) -> Iterator[tuple[str, int]]:
    """A server of `tests.programs.service`: its URL and process. It must end well on SIGTERM."""
    port = free_port()
    where = f"--bind=127.0.0.1:{port}" if command[0] == "gunicorn" else f"--port={port}"
    log = directory / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command, where],
            cwd=ROOT,
            env={**os.environ, "FEATURE_REPOSITORY": str(directory), **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield url, process.pid
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert process.returncode in (0, -signal.SIGTERM)
    finally:
        # The workers too, whatever became of their parent.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(log.read_text())
    for word in ("panicked", "WORKER TIMEOUT", "SIGKILL", "SIGSEGV", "SIGABRT"):
        assert word not in log.read_text()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until the server answers."""
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/docs", timeout=5)
        except httpx.TransportError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.1)
        else:
            return


def hammer(url: str, requests: int = 300) -> set[int]:
    """Sends many requests from many threads and checks each; the processes that answered."""
    processes = set()

    def one(place: int) -> None:
        drivers = [place % 400, (place * 13) % 450, 3]
        path = FORMS[place % len(FORMS)]
        # A connection of its own each, so that all workers get some.
        response = httpx.get(url + path, params={"drivers": ",".join(map(str, drivers))})
        assert is_right(response, drivers), response.text
        processes.add(response.json()["process"])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(one, range(requests)))
    return processes


@pytest.mark.parametrize("read_at_import", ["", "1"], ids=["fork before use", "fork after use"])
def test_gunicorn_with_preload_and_four_workers(
    server: RedisServer, tmp_path: Path, read_at_import: str
) -> None:
    filled_store(tmp_path, server.address)
    command = [
        "gunicorn",
        "--preload",
        "--workers=4",
        "--worker-class=uvicorn_worker.UvicornWorker",
    ]
    with serving(
        tmp_path, *command, "tests.programs.service:app", READ_AT_IMPORT=read_at_import
    ) as (url, process):
        end = time.monotonic() + 30
        while len(children := workers(process)) < 4:
            assert time.monotonic() < end
            time.sleep(0.1)
        seen = hammer(url)
        while seen != children and time.monotonic() < end:
            seen |= hammer(url, 60)
        # All four answered, and none of them was replaced.
        assert seen == children == workers(process)


def workers(process: int) -> set[int]:
    """The children of a process."""
    return {child.pid for child in psutil.Process(process).children()}


def test_uvicorn_and_a_restarted_redis(own_server: RedisServer, tmp_path: Path) -> None:
    filled_store(tmp_path, own_server.address, request_timeout_ms=2000)
    redis.Redis(port=own_server.port).save()
    with serving(tmp_path, "uvicorn", "tests.programs.service:app") as (url, process):
        assert hammer(url, 60) == {process}
        own_server.kill()
        for form in FORMS:
            assert httpx.get(f"{url}{form}?drivers=1").status_code == 500
        own_server.start()
        assert hammer(url, 60) == {process}


def test_an_application_in_this_process(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through ASGI alone, on one loop after another."""
    filled_store(tmp_path, server.address)
    monkeypatch.setenv("FEATURE_REPOSITORY", str(tmp_path))
    from tests.programs import service

    async def main() -> None:
        transport = httpx.ASGITransport(app=service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            tasks = [
                client.get(FORMS[place % 3], params={"drivers": f"{place},{place + 1}"})
                for place in range(60)
            ]
            for place, response in enumerate(await asyncio.gather(*tasks)):
                assert is_right(response, [place, place + 1])

    for _ in range(3):
        asyncio.run(main())
