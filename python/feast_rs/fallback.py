"""Default values for features that an outage keeps from being read: what they are, and the log's
word about their use."""

from __future__ import annotations

import base64
import json
import logging
import math
import time
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from feast_rs import _core, dtypes, feast_compat
from feast_rs.errors import EncodeError

if TYPE_CHECKING:
    from feast import Field

    from feast_rs.config import RedisOnlineStoreConfig

logger = logging.getLogger(__name__)

#: The tag of a feature that holds its default value.
TAG = "feast_rs.default"

_PLAIN: dict[str, tuple[type, ...]] = {
    "Int32": (int,),
    "Int64": (int,),
    "Float32": (int, float),
    "Float64": (int, float),
    "Bool": (bool,),
    "String": (str,),
}


def default_value(settings: RedisOnlineStoreConfig, view: str, field: Field) -> bytes | None:
    """The serialized default value of a feature; None for null.

    The setting ``default_values`` wins over the feature's tag.

    Raises:
        EncodeError: The default is not of the feature's type.
    """
    name = f"{view}:{field.name}"
    values = settings.default_values or {}
    if name in values:
        value, place = values[name], "default_values"
    elif TAG in (field.tags or {}):
        value, place = field.tags[TAG], f"its tag '{TAG}'"
    else:
        return None
    try:
        if place != "default_values":
            value = _parse_tag(value, field.dtype)
        return _encode(value, field.dtype)
    except (TypeError, ValueError, OverflowError, InvalidOperation, pa.ArrowException) as cause:
        raise EncodeError(
            f"the default of feature '{name}' in {place} is not of its type "
            f"{dtypes.spell(field.dtype)}: {cause}"
        ) from cause


def unknown_names(values: Mapping[str, Any], registry: Any, project: str) -> list[str]:
    """The names among ``default_values`` that are no stored feature's."""
    unknown = []
    for name in values:
        view, _, feature = name.partition(":")
        known = feast_compat.stored_features(registry, project, view)
        if known is not None and feature not in known:
            unknown.append(name)
    return unknown


class OutageLog:
    """Tells the log that default values were answered: at most once in each second, whichever
    threads answer."""

    def __init__(self) -> None:
        # Without a lock, which another thread could hold while this process is forked: each step
        # is atomic.
        self._untold: deque[int] = deque()
        self._told: dict[int, object] = {}

    def note(self, answer: _core.Answer) -> None:
        """Takes note of an answer, which may be a whole one."""
        unanswered = answer.unanswered
        if unanswered is None:
            return
        entities, error = unanswered
        self._untold.append(entities)
        second, ticket = int(time.monotonic()), object()
        if self._told.setdefault(second, ticket) is not ticket:
            return
        for earlier in [known for known in list(self._told) if known < second]:
            self._told.pop(earlier, None)
        answers = total = 0
        while self._untold:
            try:
                total += self._untold.popleft()
            except IndexError:
                break
            answers += 1
        if answers:
            logger.warning(
                "online_store: default values were answered for %d entity keys in %d requests: %s",
                total,
                answers,
                error,
            )


def _parse_tag(text: str, dtype: Any) -> Any:
    """The value that a tag's text means: JSON, or for a text feature the text itself."""
    name = dtypes.spell(dtype)
    if name == "Json" and text != "null":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        if name == "String":
            return text
        raise
    if name == "String" and not isinstance(value, (str, type(None))):
        return text
    return value


def _encode(value: Any, dtype: Any) -> bytes | None:
    if value is None:
        return None
    name = dtypes.spell(dtype)
    typed = pa.array([_typed(value, dtype)], pa.array(_core.decode_values([None], name)).type)
    cell: bytes = pa.array(_core.encode_values(typed, name))[0].as_py()
    # A float that is not a number is stored as null.
    return cell or None


def _typed(value: Any, dtype: Any) -> Any:
    """A value as Arrow's type of the declared one takes it; no other type's is converted."""
    fields = getattr(dtype, "fields", None)
    if fields is not None:
        given = _checked(value, dict)
        if unknown := sorted(set(given) - set(fields)):
            raise ValueError(f"the struct has no field '{unknown[0]}'")
        return {
            key: None if item is None else _typed(item, fields[key]) for key, item in given.items()
        }
    item_type = getattr(dtype, "base_type", None)
    if item_type is not None:
        return [_typed(item, item_type) for item in _checked(value, list, tuple, set)]
    name = dtypes.spell(dtype)
    if name in _PLAIN:
        if isinstance(value, bool) and name != "Bool":
            raise TypeError(f"{value!r} is a bool")
        plain = _checked(value, *_PLAIN[name])
        if name == "Float32":
            with np.errstate(over="ignore"):
                if math.isinf(np.float32(plain)) and not math.isinf(plain):
                    raise OverflowError(f"{value!r} is too large")
        return plain
    if name == "UnixTimestamp":
        return _moment(value)
    if name == "ZonedTimestamp":
        given = _checked(value, dict)
        return {"timestamp": _moment(given["timestamp"]), "zone": given.get("zone") or ""}
    if name in ("Uuid", "TimeUuid"):
        return str(UUID(str(_checked(value, str, UUID))))
    if name == "Decimal":
        text = str(_checked(value, str, int, Decimal))
        Decimal(text)
        return text
    if name == "Json":
        return value if isinstance(value, str) else json.dumps(value)
    if name == "Map":
        return [(key, json.dumps(item)) for key, item in _checked(value, dict).items()]
    if name == "ScalarMap":
        pairs = _checked(value, dict).items()
        return [(json.dumps(key), json.dumps(item)) for key, item in pairs]
    if isinstance(value, dict) and set(value) == {"$bytes"}:
        return base64.b64decode(_checked(value["$bytes"], str), validate=True)
    return _checked(value, bytes)


def _moment(value: Any) -> datetime:
    """A time: seconds since the epoch, ISO 8601's text, or what YAML has read."""
    if isinstance(value, int) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    moment: datetime = _checked(value, datetime)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _checked(value: Any, *types: type) -> Any:
    if not isinstance(value, types):
        raise TypeError(f"{value!r} is a {type(value).__name__}")
    return value
