"""The rows of a request, in whichever form they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feast_rs import _core
from feast_rs.errors import EntityRowsError, NoEntityRowsError


def columnar(entity_rows: Any) -> Mapping[str, Any]:
    """Entity rows as columns: a list of dicts, a mapping of columns, a data frame, or a table.

    Raises:
        ArgumentError: The rows do not all have the same keys.
        EntityRowsError: They are none of these.
        NoEntityRowsError: There is no row.
    """
    if isinstance(entity_rows, list):
        if not entity_rows:
            raise NoEntityRowsError("entity_rows is empty; at least one row is needed.")
        return _core.columns_of_rows(entity_rows)
    if isinstance(entity_rows, Mapping):
        return entity_rows
    # Arrow's tables call their names one way, pandas' and Polars' frames the other.
    names = getattr(entity_rows, "column_names", None)
    if names is None:
        names = getattr(entity_rows, "columns", None)
    if names is None and (schema := getattr(entity_rows, "schema", None)) is not None:
        names = schema.names
    if names is None:
        raise EntityRowsError(
            "entity_rows must be a list of dicts, a mapping of columns, a data frame or an Arrow "
            f"table, not {type(entity_rows).__name__}"
        )
    return {name: entity_rows[name] for name in names}


def plain_columns(entity_rows: Any) -> dict[str, Any]:
    """Entity rows as columns of the forms that stock Feast takes: lists, or ``RepeatedValue``."""
    columns = {}
    for name, values in columnar(entity_rows).items():
        if not isinstance(values, Sequence) and not hasattr(values, "DESCRIPTOR"):
            to_list = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
            values = to_list() if to_list is not None else list(values)
        columns[name] = values
    return columns
