"""What a materialization tells about each feature view."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from feast import utils

if TYPE_CHECKING:
    from feast_rs.writing import WriteReport

Engine = Literal["streaming", "local", "on-demand"]

# The views that `feast_rs.materialize` has run so far in this thread or task; None outside of it.
COLLECTED: ContextVar[list[ViewReport] | None] = ContextVar("feast_rs_view_reports", default=None)


@dataclass(frozen=True)
class ViewReport:
    """One feature view's materialization.

    Of a run that succeeded, ``rows_read`` is the sum of ``rows_superseded``, ``rows_written`` and
    ``rows_skipped``.

    Of an on-demand view, ``rows_read`` are the rows that its transformation made.
    """

    view: str
    """The feature view's name."""

    engine: Engine
    """``streaming``; ``local`` where Feast's local engine made the rows; ``on-demand`` for a view
    that Feast computes outside of its engines."""

    start: datetime
    """The time range's first moment, with zone."""

    end: datetime
    """The time range's last moment, with zone; both are part of it."""

    rows_read: int
    """Rows of the source in the time range; of the local engine, rows that it made."""

    rows_superseded: int
    """Rows that were not sent, since the source has a later one of the same entity."""

    rows_written: int
    """Rows that Redis acknowledged."""

    rows_skipped: int
    """Rows that are not newer than what is stored."""

    rows_failed: int
    """Rows that Redis refused; 0 unless ``error`` is set."""

    bytes_sent: int
    """Bytes of commands."""

    seconds: float
    """From the start to the last acknowledgement."""

    newest_event_timestamp: datetime | None
    """The newest event timestamp of the rows written and skipped, in UTC. That of an on-demand
    view is the time of writing."""

    error: str | None = None
    """What went wrong; None of a run that succeeded."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        view: Any,
        start: datetime,
        end: datetime,
        began: float,
        written: WriteReport | None,
        error: BaseException | None,
        rows_read: int | None = None,
    ) -> ViewReport:
        """The report of a run that began at `began` (of `time.monotonic`) and is over.

        `written` is the writer's report, if it came so far; `rows_read` the source's rows, if they
        are not just those that the writer had.
        """
        sent = written.rows_read if written else 0
        read = sent if rows_read is None else rows_read
        return cls(
            view=view.name,
            engine=engine,
            start=utils.make_tzaware(start),
            end=utils.make_tzaware(end),
            rows_read=read,
            rows_superseded=read - sent if error is None else 0,
            rows_written=written.rows_written if written else 0,
            rows_skipped=written.rows_skipped if written else 0,
            rows_failed=written.rows_failed if written else 0,
            bytes_sent=written.bytes_sent if written else 0,
            seconds=round(time.monotonic() - began, 3),
            newest_event_timestamp=written.newest_event_timestamp if written else None,
            error=None if error is None else f"{type(error).__name__}: {error}".removesuffix(": "),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them: times are ISO 8601 texts."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }


class MaterializationReport(Mapping[str, ViewReport]):
    """The reports of a materialization by feature view, in the order in which they ran."""

    def __init__(self, views: list[ViewReport]) -> None:
        self._views = {report.view: report for report in views}

    def __getitem__(self, view: str) -> ViewReport:
        return self._views[view]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        return f"MaterializationReport({list(self._views.values())!r})"

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The reports as JSON has them, by view."""
        return {view: report.to_dict() for view, report in self._views.items()}


def collect(report: ViewReport) -> None:
    """Hands a view's report to the :func:`feast_rs.materialize` that runs it, if one does."""
    collected = COLLECTED.get()
    if collected is not None:
        collected.append(report)
