"""Feast's declared types in the text form that the core reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

# The declared type of a column whose type nothing tells, such as one of nulls only.
UNKNOWN = "String"


def spell(dtype: Any) -> str:
    """The text form of a Feast type, a ``ValueType`` or a text."""
    if dtype is None:
        return UNKNOWN
    fields = getattr(dtype, "fields", None)
    if fields is not None:
        spelled = ", ".join(f"{json.dumps(name)}: {spell(item)}" for name, item in fields.items())
        return f"Struct({{{spelled}}})"
    item = getattr(dtype, "base_type", None)
    if item is not None:
        return f"{type(dtype).__name__}({spell(item)})"
    return getattr(dtype, "name", None) and str(dtype) or str(dtype)


def of_messages(messages: Iterable[Any]) -> str:
    """The type of the first ``Value`` message that is set."""
    from feast.type_map import PROTO_VALUE_TO_VALUE_TYPE_MAP

    for message in messages:
        kind = message.WhichOneof("val")
        if kind is not None:
            value_type = PROTO_VALUE_TO_VALUE_TYPE_MAP.get(kind)
            return value_type.name if value_type is not None else UNKNOWN
    return UNKNOWN
