"""Runs the workers beside a test that makes servers fail, and judges what they saw."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.workers import KINDS, TOLERANCE, work
from tests.support.server import RedisServer

# To import Feast takes seconds. A server of forks does it once for all workloads.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.faults.workers"])
LIMIT_MS = 300
"""The `request_timeout_ms` of the reads."""
BACK_SECONDS = 2.0
"""After which every call must succeed again, counted from the server's return."""
CALM_SECONDS = 0.5
"""How long nothing may fail for the service to be back."""
MEBIBYTE = 1 << 20


class Workload:
    """8 threads and 32 tasks that read, a thread and a task that write.

    Every answer must be right at all times. Errors are allowed in an `outage`; every one is of a
    kind that feast-rs has for an outage, names one of `addresses` and tells none of `secrets`. No
    call may take longer than the limit by more than 10 ms, apart from what the machine was late.

    Args:
        directory: For the repository.
        connection_string: As Feast has it.
        addresses: One of these is in every error.
        replicated: Servers whose replicas must have a row for it to count as acknowledged; for
            faults after which a replica takes over.
        secrets: What no error may tell.
        fresh: Whether reads are of primaries, which answer with the newest acknowledged row.
        hosts: The workers' /etc/hosts.
        settings: More of the online store's.
    """

    def __init__(
        self,
        directory: Path,
        connection_string: str,
        addresses: Sequence[str],
        *,
        replicated: Iterable[RedisServer] = (),
        secrets: Sequence[str] = (),
        fresh: bool = True,
        entities: int = 240,
        threads: int = 8,
        tasks: int = 32,
        hosts: Path | None = None,
        **settings: Any,
    ) -> None:
        store = {
            "connection_string": connection_string,
            "request_timeout_ms": LIMIT_MS,
            "socket_timeout": 1.0,
            "redis_pool_size": 16,
            **settings,
        }
        options = {
            "store": store,
            "threads": threads,
            "tasks": tasks,
            "entities": entities,
            "pace": 0.06,
            "fresh": fresh,
            "limit": store["request_timeout_ms"] / 1000,
            "addresses": list(addresses),
            "secrets": list(secrets),
            "replicated": [access(server) for server in replicated],
            "hosts": hosts,
            # The server of forks has that of when it was started.
            "environment": dict(os.environ),
        }
        self.reports: list[dict[str, Any]] = []
        self.outages: list[tuple[float, float]] = []
        self.recoveries: list[float] = []
        self._log = directory / "workers.log"
        self._workers, theirs = _FORKS.Pipe()
        self._log.touch()
        self._process = _FORKS.Process(
            target=work, args=(theirs, self._log, directory, options), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            assert self._answer() == "ready"
        except BaseException:
            self.close()
            raise

    def _answer(self, seconds: float = 60) -> Any:
        with contextlib.suppress(EOFError):
            if self._workers.poll(seconds):
                return self._workers.recv()
        raise AssertionError(f"the workers do not answer:\n{self._log.read_text()[-5000:]}")

    def ask(self, command: str) -> Any:
        """What the workers answer to a command."""
        self._workers.send(command)
        return self._answer()

    def report(self) -> dict[str, Any]:
        """What happened since the last report."""
        report: dict[str, Any] = self.ask("report")
        self.reports.append(report)
        return report

    def run(self, seconds: float) -> None:
        """Lets the workers work."""
        time.sleep(seconds)
        self.report()

    @contextlib.contextmanager
    def doubtful(self) -> Iterator[None]:
        """A span in which Redis itself may answer from two primaries, or forget a write."""
        self.ask("doubt")
        try:
            yield
        finally:
            self.ask("trust")

    @contextlib.contextmanager
    def outage(self, must_fail: bool = True, calm: float = CALM_SECONDS) -> Iterator[None]:
        """A span in which calls may fail, and two seconds more; `must_fail` says that some do.

        The servers are back at its end. It then waits until the service is back.
        """
        begin = self.report()["now"]
        before = self.reports[-1]["failed"]
        yield
        back = time.monotonic()
        self.outages.append((begin, back + BACK_SECONDS))
        self.recoveries.append(self._recover(back, calm))
        if must_fail:
            assert self.reports[-1]["failed"] > before, "the fault has hurt nobody"

    def _recover(self, back: float, calm: float) -> float:
        """Waits until calls of every kind succeed and none fails; seconds that it took."""
        last_error = back
        last_text = ""
        while True:
            time.sleep(0.1)
            report = self.report()
            for begin, _, kind, text in report["errors"]:
                if begin > last_error:
                    last_error, last_text = begin, f"{kind}: {text}"
            good = all(report["last_good"][kind] > last_error for kind in KINDS)
            if good and report["now"] - last_error > calm:
                return last_error - back
            if report["now"] - back > BACK_SECONDS + 5:
                raise AssertionError(
                    f"not back {BACK_SECONDS} s after the servers were: last {last_text}, "
                    f"{report['last_good']}, now {report['now']}"
                )

    def resources(self) -> dict[str, int]:
        """What the workers' process holds while no call is under way."""
        held: dict[str, int] = self.ask("resources")
        return held

    def verify(self) -> None:
        """Reads all rows; what was acknowledged must be there."""
        assert self.ask("verify"), "not all rows can be read"
        self.report()

    def finish(self) -> None:
        """Checks everything that was seen."""
        self.verify()
        print(self.summary())
        wrong = [fault for report in self.reports for fault in report["wrong"]]
        assert not wrong, f"{len(wrong)} wrong answers: {wrong[:5]}"
        stray = [
            (begin, end, *error)
            for begin, end, *error in self.errors()
            if not any(end >= first and begin <= last for first, last in self.outages)
        ]
        assert not stray, f"{len(stray)} errors outside of outages: {stray[:5]}"
        late = [call for call in self.late() if call["net"] > TOLERANCE]
        assert not late, f"{len(late)} calls over the limit: {late[:5]}"
        assert all(seconds <= BACK_SECONDS for seconds in self.recoveries), self.recoveries

    def errors(self) -> list[Any]:
        """When each error began and ended, of what kind of call, and its text."""
        return [error for report in self.reports for error in report["errors"]]

    def late(self) -> list[dict[str, Any]]:
        """Calls that took longer than the limit and 10 ms, the machine's part included."""
        return [call for report in self.reports for call in report["late"]]

    def summary(self) -> str:
        """The figures of the run."""
        last = self.reports[-1]
        late = self.late()
        over = max((call["over"] for call in late), default=0.0)
        net = max((call["net"] for call in late), default=0.0)
        kinds = Counter(error[3].split(":", 1)[0] for error in self.errors())
        return (
            f"calls {last['calls']}, failed {last['failed']} {dict(kinds)}; "
            f"over the limit {len(late)}, by {over * 1000:.0f} ms, "
            f"{net * 1000:.0f} ms without the machine's part; longest "
            f"{ ({kind: round(seconds, 3) for kind, seconds in last['longest'].items()}) }; "
            f"back after {[round(seconds, 2) for seconds in self.recoveries]} s"
        )

    def close(self) -> None:
        """Ends the workers."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._workers.close()

    def __enter__(self) -> Workload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
            else:
                with contextlib.suppress(AssertionError, OSError):
                    self.report()
                    print(self.summary())
                    print(Counter(error[3] for error in self.errors()).most_common(8))
        finally:
            self.close()


def access(server: RedisServer) -> dict[str, Any]:
    """How the workers reach a server without feast-rs."""
    options: dict[str, Any] = {"host": server.host, "port": server.port}
    if server.password is not None:
        options["password"] = server.password
    if server.certificates is not None:
        options |= {"ssl": True, "ssl_ca_certs": str(server.certificates.authority)}
    return options
