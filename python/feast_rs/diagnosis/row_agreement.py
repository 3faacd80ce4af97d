"""Whether the stored rows are those of the registry's views, of the declared types and fresh."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.message import DecodeError as MalformedMessage
from google.protobuf.timestamp_pb2 import Timestamp

from feast_rs.config import RedisOnlineStoreConfig
from feast_rs.diagnosis import wording
from feast_rs.diagnosis.definitions import PRECOMPUTED, Definitions, JoinKeys, StoredView
from feast_rs.diagnosis.findings import Findings, HashReport
from feast_rs.diagnosis.hashes import StoredHash
from feast_rs.diagnosis.keys import OwnKeys
from feast_rs.errors import FeastRsError
from feast_rs.values import decode_values, encode_values

_TIMESTAMP = b"_ts:"
# Begins the words about a value in an array.
_CELL = re.compile(r"^cell \d+: ")


@dataclass
class StoredRows:
    """What the sample has of one view."""

    rows: int = 0
    newest: datetime | None = None


@dataclass
class SampledRows:
    """What the sampled hashes hold."""

    views: dict[str, StoredRows] = field(default_factory=dict)
    cells: dict[bytes, dict[str | None, list[bytes]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """Cells by hash field and the kind of value; of no kind are those that are no value."""

    def add(self, stored: StoredHash, features: frozenset[bytes]) -> None:
        """Takes a hash apart."""
        for place, cell in stored.cells.items():
            if place in features:
                kind = _kind(cell)
                if kind != "":
                    self.cells[place][kind].append(cell)
            elif place.startswith(_TIMESTAMP):
                view = self.views.setdefault(place[len(_TIMESTAMP) :].decode(), StoredRows())
                view.rows += 1
                if (when := _time(cell)) and (view.newest is None or when > view.newest):
                    view.newest = when


def _kind(cell: bytes) -> str | None:
    """The kind of a stored value: empty for null, None for what is no value."""
    try:
        kind: str | None = Value.FromString(cell).WhichOneof("val")
    except MalformedMessage:
        return None
    return kind if kind not in (None, "null_val") else ""


def _time(cell: bytes) -> datetime | None:
    try:
        return Timestamp.FromString(cell).ToDatetime(timezone.utc)
    except (MalformedMessage, ValueError, OverflowError):
        return None


def examine_rows(
    hashes: Sequence[StoredHash],
    read: Sequence[OwnKeys],
    definitions: Definitions,
    settings: RedisOnlineStoreConfig,
    report: HashReport,
    found: Findings,
) -> None:
    """Views, types, ages and times to live of the keys that are read; fills in the report's
    views."""
    known = {key for own in read for key in own.keys}
    hashes = [stored for stored in hashes if stored.key in known]
    features = definitions.features_by_field()
    sampled = SampledRows()
    for stored in hashes:
        sampled.add(stored, frozenset(features))
    for name, rows in sorted(sampled.views.items()):
        newest = rows.newest.isoformat() if rows.newest else None
        report.views[name] = {"rows": rows.rows, "newest_event_timestamp": newest}
    if definitions.are_known:
        _examine_views(sampled, read, definitions, report.complete, found)
        _examine_types(sampled, features, found)
    _examine_ages(sampled, definitions, found)
    _examine_lives(hashes, definitions, settings, found)


def _examine_views(
    sampled: SampledRows,
    read: Sequence[OwnKeys],
    definitions: Definitions,
    complete: bool,
    found: Findings,
) -> None:
    unknown = {
        name: rows.rows
        for name, rows in sampled.views.items()
        if name not in definitions.views and not name.startswith(PRECOMPUTED)
    }
    for name, count in unknown.items():
        found.warning(
            "unknown-view",
            name,
            f"{count} sampled hashes have rows of it, and the registry has no such view",
            "If it was removed or renamed, its rows only take memory: HDEL its fields, or apply "
            "its definition once more and remove it with full_scan_for_deletion: true.",
        )
    looked: Counter[JoinKeys] = Counter()
    for own in read:
        looked[own.join_keys] += len(own.keys)
    missing = 0
    for view in definitions.views.values():
        if not view.is_materialized or view.name in sampled.views:
            continue
        missing += 1
        what = (
            f"it was materialized, and has no row in the {looked[view.join_keys]} sampled keys of "
            f"{', '.join(view.join_keys)}"
        )
        advice = (
            "Materialize it anew; see whether its rows have expired (key_ttl_seconds) or were "
            "evicted, and whether its writers use these servers, this project and key version."
        )
        if complete:
            found.error("view-rows", view.name, what, advice)
        else:
            found.warning("view-rows", view.name, what, advice)
    if not unknown and sampled.views:
        found.ok("unknown-view", None, "all stored views are in the registry")
    if not missing and any(view.is_materialized for view in definitions.views.values()):
        found.ok("view-rows", None, "every materialized view has rows")


def _examine_types(
    sampled: SampledRows, features: dict[bytes, tuple[str, str, str]], found: Findings
) -> None:
    agreed = 0
    for place, kinds in sampled.cells.items():
        view, feature, dtype = features[place]
        if not dtype:
            continue
        subject = f"{view}:{feature}"
        total = sum(map(len, kinds.values()))
        for kind, cells in kinds.items():
            if kind is None:
                found.error(
                    "feature-type",
                    subject,
                    f"{len(cells)} of {total} sampled values are no Feast values",
                    "See who else writes to this hash, and materialize the view anew.",
                )
                continue
            shown = f"{len(cells)} of {total} sampled values are stored as {kind}"
            try:
                decoded = decode_values(cells, dtype)
            except FeastRsError as error:
                found.error(
                    "feature-type",
                    subject,
                    f"{shown}, and {dtype} is declared, which they cannot be read as: "
                    f"{_CELL.sub('', wording.error(error))}",
                    "Materialize the view anew, over all of its time range, or declare the type "
                    "that is stored.",
                )
                continue
            if _written(decoded, dtype) not in (kind, None):
                found.warning(
                    "feature-type",
                    subject,
                    f"{shown}, and {dtype} is declared; these can be read as it, and to_dict "
                    "answers them as they are stored",
                    "Materialize the view anew, over all of its time range.",
                )
            else:
                agreed += 1
    if agreed:
        found.ok(
            "feature-type",
            None,
            f"{wording.count(agreed, 'feature')} with values of the declared type",
        )


def _written(values: object, dtype: str) -> str | None:
    """The kind that values of a declared type are written as."""
    try:
        (cell,) = encode_values(values[:1], dtype).to_pylist()  # type: ignore[index]
    except FeastRsError:
        return None
    return _kind(cell) or None


def _examine_ages(sampled: SampledRows, definitions: Definitions, found: Findings) -> None:
    now = datetime.now(timezone.utc)
    for name, rows in sorted(sampled.views.items()):
        view = definitions.views.get(name)
        if view is None or view.ttl is None or rows.newest is None:
            continue
        age = now - rows.newest
        shown = f"the newest of {wording.count(rows.rows, 'sampled row')} is "
        if age > view.ttl:
            found.warning(
                "freshness",
                name,
                f"{shown}{wording.span(age.total_seconds())} old, and the view's ttl is "
                f"{wording.span(view.ttl.total_seconds())}: its features are stale",
                "See whether its materialization or stream runs; strict_status: true answers "
                "OUTSIDE_MAX_AGE for such rows.",
            )
        elif age < -timedelta(minutes=5):
            found.warning(
                "freshness",
                name,
                f"{shown}{wording.span(-age.total_seconds())} in the future: nothing older than it "
                "will be written over it",
                "Correct the source's event timestamps, and their time zone.",
            )
        else:
            age_text = wording.span(max(0.0, age.total_seconds()))
            found.ok("freshness", name, f"{shown}{age_text} old")


def _examine_lives(
    hashes: Sequence[StoredHash],
    definitions: Definitions,
    settings: RedisOnlineStoreConfig,
    found: Findings,
) -> None:
    limit = settings.key_ttl_seconds
    expiring = sum(stored.expires for stored in hashes)
    if limit is not None:
        longest = _longest(definitions)
        if longest is not None and longest.ttl is not None and limit < longest.ttl.total_seconds():
            found.warning(
                "time-to-live",
                longest.name,
                f"entities are removed {wording.span(limit)} after the last write "
                f"(key_ttl_seconds), before the view's ttl "
                f"({wording.span(longest.ttl.total_seconds())}) ends",
                "Raise key_ttl_seconds above the longest ttl, or lower the view's.",
            )
        if expiring < len(hashes):
            found.warning(
                "time-to-live",
                None,
                f"{len(hashes) - expiring} of {len(hashes)} sampled hashes never expire, though "
                "key_ttl_seconds is set",
                "They were written without it; they expire once they are written again, or delete "
                "those of entities that are gone.",
            )
        elif hashes:
            found.ok("time-to-live", None, "all sampled hashes expire, as key_ttl_seconds says")
    elif expiring:
        found.info(
            "time-to-live",
            None,
            f"{expiring} of {len(hashes)} sampled hashes have a time to live, and key_ttl_seconds "
            "is not set",
            "Set key_ttl_seconds as the other writers have it, so that all keys are alike.",
        )


def _longest(definitions: Definitions) -> StoredView | None:
    views = [view for view in definitions.views.values() if view.ttl is not None]
    return max(views, key=lambda view: view.ttl or timedelta(0), default=None)
