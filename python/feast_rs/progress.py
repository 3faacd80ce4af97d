"""How far a materialization has come: a progress bar for people, log lines for schedulers."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Literal

from feast_rs.reports import ViewReport
from feast_rs.writing import WriteReport

logger = logging.getLogger("feast_rs.materialization")

Mode = Literal["auto", "on", "off"]

# Seconds between changes of the bar's text.
_REFRESH = 0.2


class Progress:
    """The bar and the log lines of one feature view.

    The bar is what Feast's ``tqdm_builder`` makes: first it counts the rows whose keys were looked
    at, then those that were sent.
    """

    def __init__(
        self,
        view: str,
        builder: Callable[[int], Any] | None,
        mode: Mode,
        log_seconds: float,
    ) -> None:
        self._view = view
        self._log_seconds = log_seconds
        self._start = self._logged = time.monotonic()
        self._refreshed = 0.0
        self._scanned = 0
        self._builder = builder if is_shown(mode) else None
        self._bar: Any = None

    def begin(self, step: str, rows: int | None) -> None:
        """Begins a step that goes through so many rows."""
        self._scanned = 0
        if self._bar is not None:
            self._bar.refresh()
            self._bar.set_description_str(step, refresh=False)
            self._bar.reset(total=rows)
        elif self._builder is not None:
            self._bar = self._builder(rows or 0)
            self._bar.unit = "row"
            self._bar.unit_scale = True
            self._bar.set_description_str(step)

    def scanned(self, rows: int) -> None:
        """Rows whose keys were looked at."""
        self._scanned += rows
        if self._bar is not None:
            self._bar.update(rows)
        if self._is_time_to_log():
            self._log("scan", rows_scanned=self._scanned)

    def sent(self, rows: int, report: WriteReport) -> None:
        """Rows that were given to the writer, and what it has done by now."""
        if self._bar is not None:
            now = time.monotonic()
            if now - self._refreshed >= _REFRESH:
                self._refreshed = now
                self._bar.set_postfix_str(_postfix(report), refresh=False)
            self._bar.update(rows)
        if self._is_time_to_log():
            self._log(
                "write",
                rows_written=report.rows_written,
                rows_skipped=report.rows_skipped,
                bytes_sent=report.bytes_sent,
                rows_per_second=_rate(report.rows_written + report.rows_skipped, report.seconds),
                lag_seconds=_lag(report.newest_event_timestamp),
            )

    def finished(self, report: ViewReport) -> None:
        """The end, good or bad: the bar stays as it is, and the report is logged."""
        facts: dict[str, Any] = {
            "engine": report.engine,
            "rows_read": report.rows_read,
            "rows_superseded": report.rows_superseded,
            "rows_written": report.rows_written,
            "rows_skipped": report.rows_skipped,
            "rows_failed": report.rows_failed,
            "bytes_sent": report.bytes_sent,
            "rows_per_second": _rate(report.rows_read, report.seconds),
            "lag_seconds": _lag(report.newest_event_timestamp),
        }
        if report.error is None:
            self._log("done", **facts)
        else:
            self._log("failed", level=logging.ERROR, **facts, error=report.error)

    def close(self) -> None:
        """Lets go of the terminal's line."""
        if self._bar is not None:
            self._bar.close()

    def _is_time_to_log(self) -> bool:
        now = time.monotonic()
        if not self._log_seconds or now - self._logged < self._log_seconds:
            return False
        self._logged = now
        return True

    def _log(self, step: str, *, level: int = logging.INFO, **facts: Any) -> None:
        seconds = round(time.monotonic() - self._start, 3)
        line = {"view": self._view, "step": step, "seconds": seconds, **facts}
        logger.log(
            level,
            "materialization %s",
            " ".join(f"{name}={_spell(value)}" for name, value in line.items()),
        )


def is_shown(mode: Mode) -> bool:
    """Whether there is to be a bar."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return mode == "on" or (mode == "auto" and is_terminal)


def _rate(rows: int, seconds: float) -> int:
    return round(rows / seconds) if seconds > 0 else 0


def _lag(newest: datetime | None) -> int | None:
    """Whole seconds since the newest event."""
    if newest is None:
        return None
    return round((datetime.now(timezone.utc) - newest).total_seconds())


def _spell(value: Any) -> str:
    """A value of a ``key=value`` line; what holds a space or a quote is quoted."""
    if value is None:
        return "none"
    text = str(value)
    if any(mark in text for mark in ' "=\n'):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return text


def _postfix(report: WriteReport) -> str:
    lag = _lag(report.newest_event_timestamp)
    return f"{_size(report.bytes_sent)}, lag {'none' if lag is None else _age(lag)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}GB"


def _age(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
