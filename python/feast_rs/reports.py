"""What a materialization tells about each feature view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

# The views that `feast_rs.materialize` has run so far in this thread or task; None outside of it.
COLLECTED: ContextVar[list[ViewReport] | None] = ContextVar("feast_rs_view_reports", default=None)


@dataclass(frozen=True)
class ViewReport:
    """One feature view's materialization.

    Of a run that succeeded, ``rows_read`` is the sum of ``rows_superseded``, ``rows_written`` and
    ``rows_skipped``.
    """

    view: str
    """The feature view's name."""

    engine: Literal["streaming", "local"]
    """``streaming``, or ``local`` where Feast's local engine made the rows."""

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
    """Rows that were sent, or about to be, and not acknowledged; 0 unless ``error`` is set."""

    bytes_sent: int
    """Bytes of commands."""

    seconds: float
    """From the start to the last acknowledgement."""

    newest_event_timestamp: datetime | None
    """The newest event timestamp among the rows, in UTC."""

    error: str | None = None
    """What went wrong; None of a run that succeeded."""

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
