"""Single batches: Feast's protobuf rows, and frames that are pushed."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.utils import _convert_arrow_to_proto

import feast_rs

from .materialize import digest
from .server import Server
from .write_stores import OUR_STORE, PUSH, STOCK_STORE, VIEW, open_store
from .write_tables import MIXED, TIME

# Calls of one store in a row, as a stream worker makes them. Feast keeps the views of one registry
# in a process, so the first of them has to make them anew after another store's.
_TURN = 4
BATCH_BAR, PUSH_BAR = 2.0, 5.0


@dataclass
class IngestResult:
    """Milliseconds of one call."""

    name: str
    stock_ms: float
    ours_ms: float
    bar: float

    @property
    def faster(self) -> float:
        """Times stock."""
        return self.stock_ms / self.ours_ms


def _race(
    name: str,
    server: Server,
    calls: dict[str, Callable[[Any], Any]],
    prepare: Callable[[int], Any],
    rounds: int,
    bar: float,
) -> IngestResult:
    """Times both in turn, after a round whose stored bytes are compared. What is written is
    prepared before the clock starts."""
    digests = []
    for call in calls.values():
        server.client.flushall()
        call(prepare(0))
        digests.append(digest(server))
    if len(set(digests)) != 1 or server.client.dbsize() == 0:
        raise SystemExit(f"{name}: feast-rs and stock Feast stored different bytes")
    times: dict[str, list[float]] = {name: [] for name in calls}
    # What was loaded until now is not garbage; without this each collection would visit it.
    gc.collect()
    gc.freeze()
    number = 0
    for _ in range(max(3, rounds // _TURN)):
        for kind, call in calls.items():
            for _ in range(_TURN):
                # Each row is newer than the stored one, whoever wrote that.
                number += 1
                data = prepare(number)
                gc.collect()
                start = time.perf_counter()
                call(data)
                times[kind].append(time.perf_counter() - start)
    server.client.flushall()
    return IngestResult(name, 1e3 * median(times["stock"]), 1e3 * median(times["ours"]), bar)


def measure_ingest(server: Server, directory: Path, rounds: int) -> list[IngestResult]:
    """`online_write_batch` of 10,000 rows, and `push` of 200; each round's rows are newer."""
    place = directory / "ingest"
    kinds = {"stock": STOCK_STORE, "ours": OUR_STORE}
    stores = {
        kind: open_store(settings, server.address, place / kind, MIXED, Path("/none"))
        for kind, settings in kinds.items()
    }
    view = stores["ours"].get_feature_view(VIEW)
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    rows = _convert_arrow_to_proto(MIXED.batch(0, 10_000).to_batches()[0], view, keys)
    frame = MIXED.batch(0, 200).to_pandas()

    def later_rows(number: int) -> Any:
        later = pd.Timedelta(seconds=number)
        return [(key, values, at + later, made) for key, values, at, made in rows]

    def later_frame(number: int) -> Any:
        return frame.assign(**{TIME: frame[TIME] + pd.Timedelta(seconds=number)})

    def writing(store: FeatureStore) -> Callable[[Any], Any]:
        online = store._get_provider().online_store
        return lambda data: online.online_write_batch(store.config, view, data, None)

    def pushing(store: FeatureStore) -> Callable[[Any], Any]:
        return lambda data: store.push(PUSH, data)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            _race(
                "online_write_batch of 10,000 rows x 10 features",
                server,
                {kind: writing(store) for kind, store in stores.items()},
                later_rows,
                max(3, rounds // 10),
                BATCH_BAR,
            ),
            _race(
                "push of 200 rows x 10 features: store.push",
                server,
                {kind: pushing(store) for kind, store in stores.items()},
                later_frame,
                rounds,
                PUSH_BAR,
            ),
            _race(
                "push of 200 rows x 10 features: feast_rs.push",
                server,
                {
                    "stock": pushing(stores["stock"]),
                    "ours": lambda data: feast_rs.push(stores["ours"], PUSH, data),
                },
                later_frame,
                rounds,
                PUSH_BAR,
            ),
        ]
