"""Hashes of the project, some of each server: how they are stored, and what is in them."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings, HashReport
from feast_rs.diagnosis.keys import KeyCensus
from feast_rs.diagnosis.servers import Server
from feast_rs.errors import FeastRsError, ServerError

_SCAN_COUNT = b"500"
# Keys that are looked at for each that is to be sampled, where a database is shared with others.
_SEEN_PER_SAMPLE = 100
_FEWEST_SEEN = 5_000
_PAGE = 50
# Wider or larger hashes are measured, and not read.
_MOST_FIELDS = 10_000
_MOST_BYTES = 1 << 20
# Of all hashes of a server that are read.
_MOST_BYTES_READ = 32 << 20
_WIDE = 512
_LARGE_VALUE = 1 << 20
_MOVED = ("MOVED", "ASK ", "TRYAGAIN")


@dataclass
class StoredHash:
    """A hash as it is stored."""

    key: bytes
    encoding: str
    fields: int
    memory: int | None
    expires: bool
    cells: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class ServerSample:
    """What was sampled of one server."""

    seen: int = 0
    complete: bool = False
    own: int = 0
    bytes_read: int = 0
    hashes: list[StoredHash] = field(default_factory=list)
    other_types: list[tuple[bytes, str]] = field(default_factory=list)


def sample(
    server: Server, census: KeyCensus, wanted: int, seconds: float, found: Findings
) -> ServerSample:
    """Samples up to `wanted` of the project's hashes on a server, for some `seconds`."""
    taken = ServerSample()
    end = time.monotonic() + seconds
    own: list[bytes] = []
    try:
        server.report.keys = server.ask(b"DBSIZE")
    except ServerError:
        server.report.keys = None
    try:
        for page in _pages(server, taken):
            own += census.add(page)
            most = max(_FEWEST_SEEN, _SEEN_PER_SAMPLE * wanted)
            if len(own) >= wanted or taken.seen >= most or time.monotonic() > end:
                break
        taken.own = len(own)
        for at in range(0, min(len(own), wanted), _PAGE):
            if time.monotonic() > end:
                break
            _read(server, own[at : min(at + _PAGE, wanted)], taken)
    except FeastRsError as error:
        found.warning(
            "sample",
            server.address,
            f"its hashes could not be sampled: {wording.error(error)}",
            "Permit the user SCAN, TYPE, OBJECT, MEMORY USAGE, PTTL and HGETALL, or run the "
            "diagnosis as another one.",
        )
    return taken


def _pages(server: Server, taken: ServerSample) -> Iterator[list[bytes]]:
    cursor, known = b"0", set()
    while True:
        cursor, keys = server.ask(b"SCAN", cursor, b"COUNT", _SCAN_COUNT)
        new = [key for key in dict.fromkeys(keys) if key not in known]
        known.update(new)
        taken.seen += len(new)
        if cursor == b"0":
            taken.complete = True
        yield new
        if cursor == b"0":
            return


def _read(server: Server, keys: Sequence[bytes], taken: ServerSample) -> None:
    try:
        types = server.run([[b"TYPE", key] for key in keys])
        taken.other_types += [
            (key, str(kind))
            for key, kind in zip(keys, types, strict=True)
            if kind not in ("hash", "none")
        ]
        keys = [key for key, kind in zip(keys, types, strict=True) if kind == "hash"]
        hashes = _measured(server, keys)
        readable = []
        for found in hashes:
            used = found.memory or 0
            fits = used <= min(_MOST_BYTES, _MOST_BYTES_READ - taken.bytes_read)
            if fits and found.fields <= _MOST_FIELDS:
                taken.bytes_read += used
                readable.append(found)
        replies = server.run([[b"HGETALL", found.key] for found in readable])
    except ServerError as error:
        # Slots are on the move; these keys are somewhere else now.
        if any(word in str(error) for word in _MOVED):
            return
        raise
    for found, cells in zip(readable, replies, strict=True):
        found.cells = dict(zip(cells[::2], cells[1::2], strict=True))
    taken.hashes += hashes


def _measured(server: Server, keys: Sequence[bytes]) -> list[StoredHash]:
    encodings = server.run([[b"OBJECT", b"ENCODING", key] for key in keys])
    widths = server.run([[b"HLEN", key] for key in keys])
    lives = server.run([[b"PTTL", key] for key in keys])
    memory: list[Any]
    try:
        memory = server.run([[b"MEMORY", b"USAGE", key] for key in keys])
    except ServerError:
        memory = [None] * len(keys)
    return [
        StoredHash(
            key=key,
            encoding=encoding.decode() if isinstance(encoding, bytes) else str(encoding),
            fields=width,
            memory=used,
            expires=life >= 0,
        )
        for key, encoding, width, life, used in zip(
            keys, encodings, widths, lives, memory, strict=True
        )
        # Those that were deleted meanwhile are none.
        if encoding is not None and width
    ]


def summarize(samples: Sequence[ServerSample], all_sampled: bool) -> HashReport:
    """All samples together; `all_sampled` tells whether there is one of every primary."""
    hashes = [found for taken in samples for found in taken.hashes]
    report = HashReport(
        keys_seen=sum(taken.seen for taken in samples),
        complete=all_sampled
        and bool(samples)
        and all(taken.complete and len(taken.hashes) >= taken.own for taken in samples),
        sampled=len(hashes),
        encodings=dict(Counter(found.encoding for found in hashes).most_common()),
        expiring=sum(found.expires for found in hashes),
    )
    if hashes:
        widths = [found.fields for found in hashes]
        report.fields_median, report.fields_max = int(statistics.median(widths)), max(widths)
        lengths = [len(cell) for found in hashes for cell in found.cells.values()]
        report.longest_value = max(lengths, default=None)
    if sizes := [found.memory for found in hashes if found.memory is not None]:
        report.memory_median, report.memory_max = int(statistics.median(sizes)), max(sizes)
    return report


def examine_hashes(
    samples: Sequence[ServerSample],
    report: HashReport,
    limits: tuple[int, int] | None,
    features: dict[bytes, tuple[str, str, str]],
    found: Findings,
) -> None:
    """What the encodings and sizes mean. `limits` are the servers' hash-max-listpack-entries and
    hash-max-listpack-value, if they told."""
    for key, kind in [other for taken in samples for other in taken.other_types][:1]:
        count = sum(len(taken.other_types) for taken in samples)
        found.error(
            "key-kind",
            None,
            f"{wording.count(count, 'key')} of this project is no hash but a {kind}, such as "
            f"{key!a}: reads of it fail with WRONGTYPE",
            "Delete what is not Feast's, or keep it in a database of its own.",
        )
    hashes = [stored for taken in samples for stored in taken.hashes]
    if not hashes:
        return
    tables = [stored for stored in hashes if stored.encoding == "hashtable"]
    if tables:
        _examine_tables(tables, len(hashes), limits, features, found)
    else:
        found.ok("encoding", None, f"all {len(hashes)} sampled hashes are compact")
    if (report.fields_max or 0) > _WIDE:
        found.info(
            "hash-size",
            None,
            f"the widest sampled hash has {report.fields_max} fields",
            "Give views that are not read together entities of their own, so that a read does not "
            "bring along what it does not want.",
        )
    if (report.longest_value or 0) > _LARGE_VALUE:
        found.warning(
            "hash-size",
            None,
            f"the longest sampled value has {wording.size(report.longest_value or 0)}, which "
            "holds up all other calls while it is sent",
            "Keep large objects elsewhere, and their address as the feature.",
        )


def _examine_tables(
    tables: Sequence[StoredHash],
    count: int,
    limits: tuple[int, int] | None,
    features: dict[bytes, tuple[str, str, str]],
    found: Findings,
) -> None:
    entries, length = limits or (512, 64)
    wide = sum(stored.fields > entries for stored in tables)
    long = Counter(
        ":".join(features[place][:2]) if place in features else "an unknown field"
        for stored in tables
        for place, cell in stored.cells.items()
        if max(len(cell), len(place)) > length
    )
    causes = []
    if wide:
        causes.append(f"{wide} have more than {entries} fields (hash-max-listpack-entries)")
    if long:
        causes.append(
            f"values of more than {length} bytes (hash-max-listpack-value) are in "
            f"{wording.names(long)}"
        )
    if not causes:
        causes.append("a value was too long once, or the limits were other ones")
    found.info(
        "encoding",
        None,
        f"{len(tables)} of {count} sampled hashes are hash tables, which take more memory than "
        f"listpacks: {'; '.join(causes)}",
        "Raise these limits if memory is dear (reads then scan each hash), or give views with long "
        "values an entity of their own, so that the others stay compact.",
    )


def listpack_limits(server: Server) -> tuple[int, int] | None:
    """The server's limits on compact hashes, if the user may ask for them."""
    try:
        reply = server.ask(b"CONFIG", b"GET", b"hash-max-*")
    except ServerError:
        return None
    values = dict(zip(reply[::2], reply[1::2], strict=True))
    for name in (b"listpack", b"ziplist"):
        entries = values.get(b"hash-max-" + name + b"-entries")
        length = values.get(b"hash-max-" + name + b"-value")
        if entries and length:
            return int(entries), int(length)
    return None
