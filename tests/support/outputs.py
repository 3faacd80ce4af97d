"""What the on-demand views of ``test_on_demand.py`` give; read when they run, since Feast stores
their code."""

from __future__ import annotations

from typing import Any

#: Values by the name of the output, one for each row.
GIVEN: dict[str, list[Any]] = {}
