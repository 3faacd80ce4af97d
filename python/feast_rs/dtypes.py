"""Feast's declared types in the text form that the core reads.

A type is written as Feast prints it, with a struct's field names as JSON strings so that any name
is unambiguous: ``Array(Struct({"a": Int64}))``. The names of ``ValueType`` are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from feast.types import ComplexFeastType, PrimitiveFeastType
    from feast.value_type import ValueType

    #: What names a Feast type: a type of ``feast.types``, a ``ValueType``, or its text.
    DType: TypeAlias = PrimitiveFeastType | ComplexFeastType | ValueType | str

# The declared type of a column whose type nothing tells, such as one of nulls only.
UNKNOWN = "String"


def spell(dtype: DType | None) -> str:
    """The text form of a Feast type, a ``ValueType`` or a text; None is :data:`UNKNOWN`.

    Raises:
        TypeError: It is none of these.
    """
    if dtype is None:
        return UNKNOWN
    if isinstance(dtype, str):
        return dtype
    fields = getattr(dtype, "fields", None)
    if fields is not None:
        spelled = ", ".join(f"{json.dumps(name)}: {spell(item)}" for name, item in fields.items())
        return f"Struct({{{spelled}}})"
    item = getattr(dtype, "base_type", None)
    if item is not None:
        return f"{type(dtype).__name__}({spell(item)})"
    name = getattr(dtype, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"not a Feast type: {dtype!r}")
    # The names of feast.types' enum differ from ValueType's for floats: FLOAT64 is DOUBLE.
    return name if type(dtype).__name__ == "ValueType" else str(dtype)


def of_messages(messages: Iterable[Any]) -> str:
    """The type of the first ``Value`` message that is set; :data:`UNKNOWN` if none is."""
    from feast.type_map import PROTO_VALUE_TO_VALUE_TYPE_MAP

    for message in messages:
        kind = message.WhichOneof("val")
        if kind is not None:
            value_type = PROTO_VALUE_TO_VALUE_TYPE_MAP.get(kind)
            if value_type is not None:
                return value_type.name
            # Feast's map leaves out the newest types.
            return str(kind).removesuffix("_val").upper()
    return UNKNOWN
