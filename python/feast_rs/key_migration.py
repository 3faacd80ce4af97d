"""Entity keys of version 2 to version 3, while the deployment runs; see docs/key-migration.md."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from feast import FeatureStore

from feast_rs import _core, feast_compat
from feast_rs.config import redis_settings
from feast_rs.deletion import slot_owners
from feast_rs.errors import (
    ArgumentError,
    ConfigError,
    ConnectionError,
    ProtocolError,
    ServerError,
    TimeoutError,
)
from feast_rs.migration_report import MigrationReport
from feast_rs.online_store import RedisOnlineStore
from feast_rs.progress import Mode, is_shown
from feast_rs.scan_marks import ScanMarks, Slots

T = TypeVar("T")

#: The largest page: SCAN looks at so many keys in one go, in which the server does nothing else.
LARGEST_BATCH = 10_000

# With a rate limit there are so many pages a second, so that the load is even.
_PAGES_PER_SECOND = 10
# How long what may pass (a lost connection, a failover) is met by further attempts; and before
# anything was answered, when there is most likely no server.
_RETRY_SECONDS = 30.0
_FIRST_SECONDS = 1.0
# Keys that a report names of each outcome.
_NAMED = 10

# Refusals of a state that passes by itself.
_PASSING = re.compile(r"\b(LOADING|READONLY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|BUSY)\b")
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


def migrate_keys(
    store: FeatureStore,
    *,
    dry_run: bool = False,
    delete: bool = False,
    views: Sequence[str] | None = None,
    batch_size: int = 1000,
    rate: float | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Mode = "auto",
) -> MigrationReport:
    """Copies what is stored under entity keys of version 2 to keys of version 3.

    Of a view that both keys have, the row with the newer event timestamp stays, also when others
    write meanwhile. Times to live go along. It can be run again at any time.

    Args:
        store: A store whose online store is Redis, through feast-rs or stock Feast.
        dry_run: Only count, and write nothing.
        delete: Delete each old key once its copy was read back and compared, unless it has changed.
        views: Feature views whose entities' keys are migrated, whole; by default all.
        batch_size: Keys that are migrated together, and that one SCAN looks at; up to 10,000.
        rate: Keys a second that are looked at, at the most; others' keys count as well.
        state: A file that keeps how far the run has come. A run that finds it goes on from there;
            it is deleted at the end.
        progress: Whether to show a bar: ``auto`` (on a terminal), ``on`` or ``off``.

    Raises:
        ArgumentError: The arguments do not fit together, or name a view that is not there.
        ConfigError: The online store is not Redis, or ``delete`` is asked for while the store
            itself still uses version 2.
        ConnectionError, TimeoutError, ServerError: Redis did not answer as it should, also after
            further attempts. What is done is done; run it again.
        ProtocolError: A single hash is larger than ``max_reply_bytes``.
    """
    if not 1 <= batch_size <= LARGEST_BATCH:
        raise ArgumentError(f"batch_size is between 1 and {LARGEST_BATCH}, not {batch_size}")
    if rate is not None and not rate > 0:
        raise ArgumentError(f"rate is a positive number of keys a second, not {rate}")
    if dry_run and (delete or state is not None):
        raise ArgumentError("a dry run deletes nothing and keeps no state")
    if delete and store.config.entity_key_serialization_version < 3:
        raise ConfigError(
            "the store itself reads keys of version 2: set entity_key_serialization_version to 3 "
            "in feature_store.yaml, everywhere, before the old keys are deleted"
        )
    client = _client_of(store)
    patience = _Patience(_RETRY_SECONDS)
    migration = patience.run(partial(_migration, store, client, views))
    job = {
        "project": store.project,
        "delete": delete,
        "views": sorted(views) if views is not None else None,
    }
    marks = ScanMarks(state, job)
    run = _Run(client, migration, marks, patience, MigrationReport(dry_run), delete)
    run.pace(batch_size, rate)
    return run.run(progress)


def _client_of(store: FeatureStore) -> _core.Client:
    """The store's client, or one of stock Feast's settings."""
    settings = redis_settings(store.config)
    online_store = store._get_provider().online_store
    if type(online_store) is not RedisOnlineStore:
        online_store = RedisOnlineStore()
    return online_store.client(settings)


def _migration(
    store: FeatureStore, client: _core.Client, chosen: Sequence[str] | None
) -> _core.KeyMigration:
    """What the registry says about the project's keys."""
    registry, config = store.registry, store.config
    by_name = {view.name: view for view in feast_compat.all_feature_views(registry, store.project)}
    if chosen is not None:
        unknown = sorted(set(chosen) - set(by_name))
        if unknown:
            raise ArgumentError(f"project {store.project} has no feature view {unknown[0]}")
    join_keys: dict[tuple[str, ...], bool] = {}
    fields: list[tuple[str, list[str]]] = []
    for name, view in by_name.items():
        names = tuple(sorted(view.join_keys)) or (feast_compat.DUMMY_JOIN_KEY,)
        join_keys[names] = join_keys.get(names, False) or chosen is None or name in chosen
        fields += feast_compat.stored_versions(view, registry, config)
    if not join_keys:
        raise ConfigError(
            f"the registry has no feature view of project {store.project}, whose join keys are "
            "needed to recognise its keys"
        )
    for service in registry.list_feature_services(store.project):
        fields.append((f"__precomputed__{service.name}", ["vector"]))
    sets = [(list(names), wanted) for names, wanted in join_keys.items()]
    return _core.KeyMigration(store.project, sets, fields, _knows_field_expiry(client))


def _knows_field_expiry(client: _core.Client) -> bool:
    """Whether the servers know times to live of hash fields: Redis 7.4, Valkey 9, and later."""
    known = set()
    for address in client.primaries():
        ((command,),) = client.execute([[b"COMMAND", b"INFO", b"HPEXPIRETIME"]], address=address)
        known.add(command is not None)
    if len(known) > 1:
        raise ConfigError(
            "some primaries know times to live of hash fields and some do not: finish the "
            "servers' upgrade first, so that none gets lost"
        )
    return True in known


class _Patience:
    """Further attempts at what failed for a reason that may pass."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._succeeded = False

    def run(self, work: Callable[[], T], go_on: Callable[[], bool] = lambda: True) -> T:
        """The outcome of `work`, which is tried again while `go_on` says so."""
        since, pause = None, 0.05
        seconds = self._seconds if self._succeeded else min(self._seconds, _FIRST_SECONDS)
        while True:
            try:
                outcome = work()
            except (ConnectionError, TimeoutError, ServerError) as error:
                passing = not isinstance(error, ServerError) or _PASSING.search(str(error))
                since = since or time.monotonic()
                late = time.monotonic() + pause - since > seconds
                if not passing or late or not go_on():
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
            else:
                self._succeeded = True
                return outcome


class _MovedAway(Exception):
    """The server is no primary any more."""


class _Run:
    """One run over all primaries."""

    def __init__(
        self,
        client: _core.Client,
        migration: _core.KeyMigration,
        marks: ScanMarks,
        patience: _Patience,
        report: MigrationReport,
        delete: bool,
    ) -> None:
        self._client = client
        self._migration = migration
        self._marks = marks
        self._patience = patience
        self._report = report
        self._delete = delete
        self._count = 0
        self._rate: float | None = None
        self._began = time.monotonic()
        self._paced = 0
        self._bar: Any = None
        report.add(marks.counts)

    def pace(self, batch_size: int, rate: float | None) -> None:
        """Sets how many keys are taken together, and how many a second."""
        self._rate = rate
        self._count = batch_size
        if rate is not None:
            self._count = max(1, min(batch_size, int(rate / _PAGES_PER_SECOND)))

    def run(self, mode: Mode) -> MigrationReport:
        """Goes through all primaries, also those that become it meanwhile."""
        if is_shown(mode):
            self._bar = self._new_bar()
        try:
            while (todo := self._patience.run(self._next_server)) is not None:
                self._scan(*todo)
            self._marks.delete()
        except BaseException:
            self._marks.save()
            raise
        finally:
            self._report.seconds = round(time.monotonic() - self._began, 3)
            if self._bar is not None:
                self._bar.close()
        return self._report

    def _next_server(self) -> tuple[str, Slots] | None:
        """A primary that is not done, with its slots. A key that moved from one that was not to one
        that was is found by looking at the slots again."""
        for address, slots in slot_owners(self._client):
            (info,) = self._client.execute([[b"INFO", b"server"]], address=address)
            if not self._marks.is_done(address, _run_id(info), slots):
                return address, slots
        return None

    def _scan(self, address: str, slots: Slots) -> None:
        """Migrates all keys of one primary."""

        def still_primary() -> bool:
            if address in self._patience.run(self._client.primaries):
                return True
            raise _MovedAway

        process, cursor = None, b"0"
        try:
            while True:
                run_id, following, keys = self._patience.run(
                    partial(self._page, address, cursor), still_primary
                )
                if run_id != process:
                    # A cursor of another process means nothing to this one.
                    expected, process = cursor, run_id
                    cursor = self._marks.begin(address, run_id, slots)
                    if cursor != expected:
                        continue
                self._patience.run(partial(self._migrate, keys))
                cursor = following
                if cursor == b"0":
                    self._marks.finish(address)
                    return
                self._marks.move(address, cursor)
        except _MovedAway:
            return

    def _page(self, address: str, cursor: bytes) -> tuple[str, bytes, list[bytes]]:
        """The server process' id, the next cursor, and keys."""
        count = str(self._count).encode()
        info, (following, keys) = self._client.execute(
            [
                [b"INFO", b"server"],
                [b"SCAN", cursor, b"MATCH", self._migration.pattern, b"COUNT", count],
            ],
            address=address,
        )
        return _run_id(info), following, keys

    def _migrate(self, keys: list[bytes]) -> None:
        report = self._report
        if keys:
            self._migrate_some(keys)
            self._marks.counts = report.counts()
        if self._bar is not None:
            self._bar.update(min(self._count, max(self._bar.total - self._bar.n, 0)))
            self._bar.set_postfix_str(_postfix(report), refresh=False)
        if self._rate is not None:
            # SCAN looks at keys that are not ours, too, and is not to hurry over them.
            self._paced += max(len(keys), self._count)
            ahead = self._began + self._paced / self._rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)

    def _migrate_some(self, keys: list[bytes]) -> None:
        report = self._report
        try:
            counts, samples = self._migration.run(self._client, keys, report.dry_run, self._delete)
        except ProtocolError:
            # Hashes too large to be taken together, perhaps.
            if len(keys) == 1:
                raise
            middle = len(keys) // 2
            self._migrate_some(keys[:middle])
            self._migrate_some(keys[middle:])
            return
        report.add(counts)
        for name, text in samples:
            named = report.samples.setdefault(name, [])
            if len(named) < _NAMED and text not in named:
                named.append(text)

    def _new_bar(self) -> Any:
        from tqdm import tqdm

        total = sum(
            self._client.execute([[b"DBSIZE"]], address=address)[0]
            for address in self._client.primaries()
        )
        return tqdm(total=total, desc="keys looked at", unit="key", unit_scale=True)


def _run_id(info: bytes) -> str:
    """What tells a server process from all others; nothing where the server does not say."""
    found = _RUN_ID.search(info)
    return found[1].decode() if found else ""


def _postfix(report: MigrationReport) -> str:
    names = ["found", "migrated", "merged", "skipped", "deleted", "failed"]
    return ", ".join(f"{name} {getattr(report, name)}" for name in names)
