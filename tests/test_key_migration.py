"""Keys of version 2, written by stock, become keys of version 3, and nothing newer is lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import Entity, FeatureView, Field, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Bytes, Float64, Int32, Int64, String, UnixTimestamp

import feast_rs
from feast_rs.__main__ import main
from tests.support import drivers, races
from tests.support.old_keys import Deployment, dump
from tests.support.proxy import Proxy
from tests.support.server import RedisServer, embedded_binary
from tests.support.setting import FEATURES, ON_DEMAND, POOLS, VIEW_KEYS, fill
from tests.support.stores import OURS, feature_store
from tests.support.world import ENTITIES, NOON, source, view, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning"),
    pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
]

LATER = NOON + timedelta(hours=1)


@pytest.fixture
def deployment(server: RedisServer, tmp_path: Path) -> Deployment:
    """The world's definitions, and nothing stored."""
    made = Deployment(tmp_path, server.address)
    made.apply()
    return made


def requests() -> Iterator[tuple[str, list[str], dict[str, list[Any]]]]:
    """Each stored view's features for the pools' entities."""
    choice = random.Random(4)
    for name, keys in VIEW_KEYS.items():
        if name in ON_DEMAND:
            continue
        rows = {key: [choice.choice(POOLS[key]) for _ in range(12)] for key in keys}
        for key in keys:
            rows[key][: len(POOLS[key])] = POOLS[key]
        # A view without entities wants rows all the same.
        rows = rows or {"driver_id": [1, 2]}
        yield name, [f"{name}:{feature}" for feature in FEATURES[name]], rows


def answers(store: Any) -> dict[str, Any]:
    """What a store answers to all requests."""
    return {
        name: store.get_online_features(refs, entity_rows(rows)).to_dict(True)
        for name, refs, rows in requests()
    }


def entity_rows(rows: dict[str, list[Any]]) -> list[dict[str, Any]]:
    width = min(map(len, rows.values()))
    return [{key: values[at] for key, values in rows.items()} for at in range(width)]


class TestWholeDeployments:
    """All types and numbers of join keys, through Feast."""

    def test_answers_stay_the_same(self, deployment: Deployment) -> None:
        fill(deployment.stock_old, deployment.stock_old)
        before = answers(deployment.stock_old)
        assert answers(deployment.old) == before
        count = deployment.client.dbsize()
        stored = deployment.hashes()

        report = feast_rs.migrate_keys(deployment.new)
        assert (report.found, report.migrated) == (count, count)
        assert report.is_clean
        assert deployment.client.dbsize() == 2 * count
        assert answers(deployment.stock) == before
        assert answers(deployment.new) == before
        assert answers(deployment.stock_old) == before

        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.skipped, report.deleted) == (count, count)
        assert deployment.client.dbsize() == count
        assert not deployment.hashes().keys() & stored.keys()
        assert sorted(map(str, deployment.hashes().values())) == sorted(map(str, stored.values()))
        assert answers(deployment.stock) == before
        assert answers(deployment.new) == before
        assert feast_rs.migrate_keys(deployment.new, delete=True).found == 0

    def test_what_feast_rs_wrote_in_version_2(self, deployment: Deployment) -> None:
        fill(deployment.stock_old, deployment.old)
        before = answers(deployment.stock_old)
        assert answers(deployment.old) == before
        assert feast_rs.migrate_keys(deployment.new).is_clean
        assert answers(deployment.stock) == answers(deployment.new) == before

    def test_a_store_of_stocks(self, deployment: Deployment) -> None:
        fill(deployment.stock_old, deployment.stock_old)
        before = answers(deployment.stock_old)
        report = feast_rs.migrate_keys(deployment.stock_old)
        assert report.migrated == report.found > 0
        assert answers(deployment.stock) == before

    def test_views_with_versions(self, server: RedisServer, tmp_path: Path) -> None:
        registry = {"registry_type": "file", "enable_online_feature_view_versioning": True}
        made = Deployment(tmp_path, server.address, registry=registry)
        stores = {
            version: feature_store(
                OURS, tmp_path, server.address, key_version=version, registry=registry
            )
            for version in (2, 3)
        }
        for features in ({"x": Int64}, {"x": Int64, "y": Int64}, {"x": Int64, "z": Int64}):
            stores[3].apply([ENTITIES["driver"], view("stats", ["driver"], features)])
        for store in stores.values():
            store.refresh_registry()
        write(stores[3], "stats", [{"driver_id": 1, "x": 1, "z": 1}], NOON)
        write(stores[2], "stats", [{"driver_id": 1, "x": 2, "z": 2}], LATER)
        old, new = made.driver(1)
        (timestamp,) = (f for f in made.client.hkeys(old) if f.startswith(b"_ts:"))
        assert timestamp != b"_ts:stats"
        assert feast_rs.migrate_keys(stores[3]).merged == 1
        assert made.client.hgetall(new) == made.client.hgetall(old)


def random_value(choice: random.Random, kind: str) -> Value:
    """A join key's value, now and then one that looks like a part of a key."""
    text = choice.choice(["", "proj", "my_proj", "é", "\x02\0\0\0b", "x" * choice.randrange(300)])
    number = choice.choice([0, -1, choice.randrange(-(2**31), 2**31)])
    return {
        "int32": lambda: Value(int32_val=number),
        "int64": lambda: Value(int64_val=number * 2**32 + 4),
        "string": lambda: Value(string_val=text),
        "bytes": lambda: Value(bytes_val=text.encode() + b"\xff\x00"),
        "time": lambda: Value(unix_timestamp_val=number),
    }[kind]()


KINDS = {
    "int32": (ValueType.INT32, Int32),
    "int64": (ValueType.INT64, Int64),
    "string": (ValueType.STRING, String),
    "bytes": (ValueType.BYTES, Bytes),
    "time": (ValueType.UNIX_TIMESTAMP, UnixTimestamp),
}


def view_of(name: str, kinds: dict[str, str]) -> tuple[FeatureView, list[Entity]]:
    """A view of join keys of these kinds."""
    entities = [
        Entity(name=f"e_{key}", join_keys=[key], value_type=KINDS[kind][0])
        for key, kind in kinds.items()
    ]
    schema = [Field(name=key, dtype=KINDS[kind][1]) for key, kind in kinds.items()]
    schema.append(Field(name="x", dtype=Int64))
    return FeatureView(name=name, entities=entities, schema=schema, source=source(name)), entities


class TestRecognition:
    """Every key of this project's, and no other."""

    @pytest.mark.parametrize("seed", range(3))
    def test_any_types_in_any_number(self, server: RedisServer, tmp_path: Path, seed: int) -> None:
        made, choice = Deployment(tmp_path, server.address), random.Random(seed)
        # Names that begin alike, and that sort otherwise than they are given.
        pool = ["b", "a", "a_id", "id", "driver", "driver_id", "é", "z" * 40]
        kind_of = {key: choice.choice(list(KINDS)) for key in pool}
        definitions: dict[str, Any] = {}
        sets = []
        for number, width in enumerate([1, 1, 1, 2, 2, 3, 4, 5]):
            keys = pool[number : number + 1] if width == 1 else choice.sample(pool, width)
            kinds = {key: kind_of[key] for key in keys}
            table, entities = view_of(f"view_{number}", kinds)
            definitions |= {item.name: item for item in [*entities, table]}
            sets.append(kinds)
        made.new.apply(list(definitions.values()))
        expected = {}
        for number, kinds in enumerate(sets):
            for _ in range(150):
                values = {key: random_value(choice, kind) for key, kind in kinds.items()}
                old, new = made.keys(values)
                row = {b"_ts:view_%d" % number: b"\x08\x07", b"cell": choice.randbytes(5)}
                made.client.delete(old)
                made.client.hset(old, mapping=row)
                expected[old] = new
        report = feast_rs.migrate_keys(made.new, batch_size=97)
        assert report.found == report.migrated == len(expected)
        assert (report.unrecognised, report.ambiguous) == (0, 0)
        stored = made.hashes()
        assert set(stored) == set(expected) | set(expected.values())
        for old, new in expected.items():
            assert stored[old] == stored[new]

    def test_projects_whose_names_end_alike(self, deployment: Deployment) -> None:
        others = ("my_proj", "projproj", "x" * 30 + "proj", "proj2", "PROJ")
        keys = {
            name: deployment.keys({"customer_id": Value(string_val=text)}, name)
            for name in ("proj", *others)
            for text in ("", "proj", name)
        }
        for old, _ in keys.values():
            deployment.client.hset(old, mapping={"_ts:customer": b"\x08\x07", "x": "1"})
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.found, report.deleted) == (1, 1)
        # Those that end in another way SCAN does not even give.
        assert report.unrecognised == 3
        old, new = keys.pop("proj")
        assert set(deployment.client.keys()) == {new, *(old for old, _ in keys.values())}

    def test_foreign_keys_are_left_alone(self, deployment: Deployment) -> None:
        client = deployment.client
        (text, text_new), (listed, _), (rowless, _), (fine, fine_new) = (
            deployment.driver(number) for number in range(4)
        )
        client.set(text, "a")
        client.rpush(listed, "a", "b")
        client.hset(rowless, "field", "not of Feast's")
        client.hset(fine, "_ts:driver_stats", b"\x08\x07")
        first = b"\x02\0\0\0driver_id\x04\0\0\0\x04\0\0\0\x07\0\0\0proj"
        others = [b"\x02\0\0\0proj", b"\x02\0\0\0driver_idproj", b"proj", b"", b"a:proj", first]
        others.append(b"\x02\0\0\0unheard_of\x04\0\0\0\x08\0\0\0" + bytes(8) + b"proj")
        for other in others:
            client.hset(other, "_ts:driver_stats", b"\x08\x07")
        before = deployment.dump()
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        after = deployment.dump()
        assert after.pop(fine_new)[0] == before.pop(fine)[0]
        assert after == before
        assert report.unrecognised == 3 + 4
        assert text_new not in after
        assert report.is_clean
        assert any("WRONGTYPE" in sample for sample in report.samples["unrecognised"])

    def test_what_fits_twice_is_not_guessed_at(self, server: RedisServer, tmp_path: Path) -> None:
        """The name of one join key is that of the other, with what looks like a value."""
        made = Deployment(tmp_path, server.address)
        shifted = "a\x02\0\0\0\x0d\0\0\0x"
        definitions: list[Any] = []
        for number, (key, kind) in enumerate([("a", "string"), (shifted, "int32")]):
            table, entities = view_of(f"view_{number}", {key: kind})
            entities[0].name = table.entities[0] = f"entity_{number}"
            definitions += [*entities, table]
        made.new.apply(definitions)
        twice, _ = made.keys({shifted: Value(int32_val=0x41414141)})
        once, once_new = made.keys({"a": Value(string_val="a")})
        for key in (once, twice):
            made.client.hset(key, "_ts:view_0", b"\x08\x07")
        report = feast_rs.migrate_keys(made.new, delete=True)
        assert (report.ambiguous, report.deleted) == (1, 1)
        assert set(made.client.keys()) == {twice, once_new}
        assert not report.is_clean

    def test_only_some_views(self, deployment: Deployment) -> None:
        fill(deployment.stock_old, deployment.stock_old)
        report = feast_rs.migrate_keys(deployment.new, views=["customer", "pair"])
        new = [key for key in deployment.client.scan_iter() if not key.startswith(b"\x02\0\0\0")]
        pairs = [key for key in deployment.client.scan_iter() if b"\x09\0\0\0driver_id" in key]
        assert report.migrated == 4
        assert len(new) == 2
        assert len(pairs) == 2
        assert all(b"customer_id" in key for key in [*new, *pairs])
        with pytest.raises(feast_rs.ArgumentError, match="no feature view nothing"):
            feast_rs.migrate_keys(deployment.new, views=["nothing"])


def stats(rate: float, **more: Any) -> list[dict[str, Any]]:
    return [{"driver_id": 1, "rate": rate, **more}]


def read(store: Any, *names: str) -> list[Any]:
    answer = store.get_online_features(list(names), [{"driver_id": 1}]).to_dict()
    return [answer[name.partition(":")[2]][0] for name in names]


class TestMerging:
    """Of each view the newer row stays, whole."""

    def test_each_view_by_its_own_time(self, deployment: Deployment) -> None:
        old, new = deployment.stock_old, deployment.new
        write(old, "driver_stats", stats(1.0, city="old"), NOON)
        write(new, "driver_stats", stats(2.0, city="new"), LATER)
        write(old, "driver_more", [{"driver_id": 1, "score": 1.0}], LATER)
        write(new, "driver_more", [{"driver_id": 1, "score": 2.0, "trips": 7}], NOON)
        write(old, "stored", [{"driver_id": 1, "stored_rate": 1.0}], NOON)
        report = feast_rs.migrate_keys(new)
        assert (report.merged, report.migrated, report.skipped) == (1, 0, 0)
        refs = [
            "driver_stats:rate",
            "driver_stats:city",
            "driver_more:score",
            "driver_more:trips",
            "stored:stored_rate",
        ]
        # The older row's trips do not stay under the newer one's time.
        for store in (deployment.stock, new):
            assert read(store, *refs) == [2.0, "new", 1.0, None, 1.0]
        before = deployment.dump()
        assert feast_rs.migrate_keys(new).skipped == 1
        assert deployment.dump() == before

    @pytest.mark.parametrize("delta", [timedelta(microseconds=1), timedelta(days=4000)])
    @pytest.mark.parametrize("base", [NOON, datetime.fromtimestamp(0, NOON.tzinfo)])
    def test_any_difference_in_time(
        self, deployment: Deployment, delta: timedelta, base: datetime
    ) -> None:
        for at, (when_old, when_new) in enumerate([(base, base + delta), (base + delta, base)]):
            deployment.client.flushall()
            write(deployment.stock_old, "driver_stats", stats(1.0), when_old)
            write(deployment.stock, "driver_stats", stats(2.0), when_new)
            report = feast_rs.migrate_keys(deployment.new, delete=True)
            assert (report.skipped, report.merged) == ((1, 0) if at == 0 else (0, 1))
            assert report.deleted == 1
            assert read(deployment.stock, "driver_stats:rate") == [2.0 if at == 0 else 1.0]

    def test_rows_of_one_time_that_differ(self, deployment: Deployment) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        write(deployment.stock, "driver_stats", stats(2.0), NOON)
        before = deployment.dump()
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.conflicting, report.deleted) == (1, 0)
        assert deployment.dump() == before
        (sample,) = report.samples["conflicting"]
        assert sample.startswith("driver_id=1: both have the event timestamp _ts:driver_stats")

    def test_a_new_key_of_another_type(self, deployment: Deployment) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        deployment.client.set(deployment.driver(1)[1], "mine")
        before = deployment.dump()
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.failed, report.deleted) == (1, 0)
        assert deployment.dump() == before

    def test_fields_of_views_that_are_gone(self, deployment: Deployment) -> None:
        (old, new), client = deployment.driver(1), deployment.client
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        client.hset(old, mapping={"_ts:former": b"\x08\x07", "abcd": "x"})
        write(deployment.stock, "driver_stats", stats(2.0), LATER)
        assert feast_rs.migrate_keys(deployment.new).merged == 1
        assert client.hmget(new, "_ts:former", "abcd") == [b"\x08\x07", b"x"]
        assert read(deployment.stock, "driver_stats:rate") == [2.0]
        # Whose the field is nobody knows, so nobody knows which of the two is newer.
        client.hset(new, "abcd", "y")
        before = deployment.dump()
        assert feast_rs.migrate_keys(deployment.new, delete=True).conflicting == 1
        assert deployment.dump() == before

    def test_hashes_of_many_fields(self, deployment: Deployment) -> None:
        """More than one call inside of a script takes."""
        old, new = deployment.driver(1)
        fields = {b"%05d" % at: b"v%d" % at for at in range(20_001)}
        deployment.client.hset(old, mapping={"_ts:driver_stats": b"\x08\x07", **fields})
        assert feast_rs.migrate_keys(deployment.new, dry_run=True).migrated == 1
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.migrated, report.deleted) == (1, 1)
        assert deployment.client.hgetall(new) == {b"_ts:driver_stats": b"\x08\x07", **fields}


class TestTimesToLive:
    """Data lives as long as it would have under its old key."""

    @pytest.mark.parametrize(
        ("old_ttl", "new_ttl", "expected"),
        [
            (None, None, -1),
            (500, None, -1),
            (500, 100, 500),
            (100, 500, 500),
            (None, 100, -1),
        ],
    )
    @pytest.mark.parametrize("alike", [False, True])
    def test_of_merged_keys(
        self,
        deployment: Deployment,
        old_ttl: int | None,
        new_ttl: int | None,
        expected: int,
        alike: bool,
    ) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), LATER)
        write(deployment.stock, "driver_stats", stats(1.0), LATER if alike else NOON)
        old, new = deployment.driver(1)
        for key, ttl in [(old, old_ttl), (new, new_ttl)]:
            if ttl is not None:
                deployment.client.expire(key, ttl)
        report = feast_rs.migrate_keys(deployment.new)
        assert (report.skipped, report.merged) == ((1, 0) if alike else (0, 1))
        assert deployment.client.ttl(new) == pytest.approx(expected, abs=1)
        assert deployment.client.ttl(old) == pytest.approx(old_ttl or -1, abs=1)

    def test_of_copied_keys(self, deployment: Deployment) -> None:
        for number, ttl in [(1, None), (2, 70), (3, 10_000_000)]:
            write(deployment.stock_old, "driver_stats", [{"driver_id": number, "rate": 1.0}])
            if ttl is not None:
                deployment.client.expire(deployment.driver(number)[0], ttl)
        feast_rs.migrate_keys(deployment.new)
        for number in (1, 2, 3):
            left = [deployment.client.pttl(key) for key in deployment.driver(number)]
            assert left[0] == pytest.approx(left[1], abs=1000)

    def test_of_a_superseded_row_does_not_count(self, deployment: Deployment) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        write(deployment.stock, "driver_stats", stats(2.0), LATER)
        _, new = deployment.driver(1)
        deployment.client.expire(new, 50)
        assert feast_rs.migrate_keys(deployment.new).skipped == 1
        assert deployment.client.ttl(new) == pytest.approx(50, abs=1)

    def test_of_fields(self, tmp_path: Path) -> None:
        server = RedisServer(binary=embedded_binary())
        try:
            made = Deployment(tmp_path, server.address, ttl_per_view=True)
            lasting = view("lasting", ["driver"], {"y": Float64}, ttl=timedelta(0))
            fading = view("fading", ["driver"], {"x": Float64}, ttl=timedelta(days=1))
            made.new.apply([ENTITIES["driver"], lasting, fading])
            now = datetime.now(NOON.tzinfo).replace(microsecond=0)
            for number in (1, 2):
                write(made.old, "lasting", [{"driver_id": number, "y": 1.0}], now)
                write(made.old, "fading", [{"driver_id": number, "x": 1.0}], now)
            write(made.new, "fading", [{"driver_id": 2, "x": 2.0}], now - timedelta(hours=1))
            report = feast_rs.migrate_keys(made.new)
            assert (report.migrated, report.merged) == (1, 1)
            for number in (1, 2):
                old, new = made.driver(number)
                fields = sorted(made.client.hkeys(old))
                assert sorted(made.client.hkeys(new)) == fields
                times = [self.expiries(made.client, key, fields) for key in (old, new)]
                assert times[0] == times[1]
                due = int((now + timedelta(days=1)).timestamp() * 1000)
                assert sorted(times[1].values()) == [-1, -1, due, due]
            assert feast_rs.migrate_keys(made.new, delete=True).deleted == 2
        finally:
            server.close()

    def expiries(self, client: redis.Redis, key: bytes, fields: list[bytes]) -> dict[bytes, int]:
        times = client.execute_command("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
        return dict(zip(fields, times, strict=True))


class TestDryRun:
    """It counts what a run would do, and writes nothing."""

    def test_nothing_is_written(self, deployment: Deployment) -> None:
        fill(deployment.stock_old, deployment.stock_old)
        write(deployment.stock, "driver_stats", stats(2.0), LATER)
        write(deployment.stock, "customer", [{"customer_id": "", "age": 7}], NOON - timedelta(1))
        write(deployment.stock, "weather", [{"place_id": 1, "celsius": 9.0}], NOON)
        deployment.client.set(b"\x02\0\0\0otherproj", "x")
        before = deployment.dump()
        tried = feast_rs.migrate_keys(deployment.new, dry_run=True)
        assert deployment.dump() == before
        assert tried.dry_run
        done = feast_rs.migrate_keys(deployment.new)
        assert tried.counts() == done.counts()
        assert done.migrated > 5
        assert (done.merged, done.conflicting, done.unrecognised) == (2, 1, 1)
        assert deployment.dump() != before
        assert tried.samples == done.samples

    def test_it_goes_with_no_deletion_or_state(self, deployment: Deployment) -> None:
        for more in ({"delete": True}, {"state": "x"}):
            with pytest.raises(feast_rs.ArgumentError, match="a dry run"):
                feast_rs.migrate_keys(deployment.new, dry_run=True, **more)


def many(made: Deployment, count: int) -> dict[bytes, bytes]:
    """So many drivers' rows under keys of version 2; their keys of version 3."""
    pipeline = made.client.pipeline(transaction=False)
    keys = dict(made.driver(number) for number in range(count))
    for number, key in enumerate(keys):
        pipeline.hset(key, mapping={"_ts:driver_stats": b"\x08\x07", "cell": b"%d" % number})
    pipeline.execute()
    return keys


def assert_copied(made: Deployment, keys: dict[bytes, bytes]) -> None:
    for old, new in keys.items():
        assert made.client.hgetall(old) == made.client.hgetall(new) != {}


def repository(made: Deployment, directory: Path, address: str | None = None) -> str:
    """The directory with the deployment's feature_store.yaml."""
    drivers.write_repository(directory, address or made.new.config.online_store.connection_string)
    return str(directory)


class TestInterruptions:
    """A run that ended early can be run again."""

    def test_killed_and_run_again(self, deployment: Deployment, tmp_path: Path) -> None:
        keys = many(deployment, 6000)
        repo, state = repository(deployment, tmp_path), tmp_path / "state.json"
        command = [sys.executable, "-m", "feast_rs", "migrate-keys", repo]
        command += ["--state", str(state), "--batch-size", "200"]
        process = subprocess.Popen(
            [*command, "--rate", "1500"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 120
        while not state.exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        copied = deployment.client.dbsize() - len(keys)
        assert 0 < copied < len(keys)
        resumed = json.loads(state.read_text())["counts"]["migrated"]
        assert 0 < resumed <= copied
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
        counts = json.loads(done.stdout)
        # The first run's keys are counted, and were not looked at once more.
        assert counts["found"] < len(keys) + 500
        assert counts["migrated"] + counts["skipped"] >= len(keys)
        assert counts["skipped"] <= copied - resumed + 400
        assert not state.exists()
        assert_copied(deployment, keys)
        again = feast_rs.migrate_keys(deployment.new)
        assert (again.skipped, again.migrated) == (len(keys), 0)

    def interrupted(self, made: Deployment, state: Path) -> None:
        """A run that an exception ends in the middle."""
        calls = 0
        client = made.new._get_provider().online_store.client(made.new.config.online_store)

        class Stop(Exception):
            pass

        def limited(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 8:
                raise Stop
            return execute(*arguments, **more)

        class Limited:
            def __getattr__(self, name: str) -> Any:
                return limited if name == "execute" else getattr(client, name)

        execute = client.execute
        from feast_rs import key_migration, migration_report

        report = migration_report.MigrationReport(False)
        job = {"project": "proj", "delete": False, "views": None}
        marks = key_migration.ScanMarks(state, job)
        core = key_migration._migration(made.new, client, None)

        class Core:
            pattern = core.pattern

            def run(self, _: Any, *arguments: Any) -> Any:
                return core.run(client, *arguments)

        run: Any = key_migration._Run(
            Limited(), Core(), marks, key_migration._Patience(0), report, False
        )
        run.pace(100, None)
        with pytest.raises(Stop):
            run.run("off")

    def test_a_state_goes_on(self, deployment: Deployment, tmp_path: Path) -> None:
        keys, state = many(deployment, 3000), tmp_path / "state"
        self.interrupted(deployment, state)
        copied = deployment.client.dbsize() - len(keys)
        assert 0 < copied < 3000
        report = feast_rs.migrate_keys(deployment.new, state=state)
        # SCAN may give some once more, as the table grew.
        assert report.migrated == 3000
        assert report.found < 3000 + copied
        assert_copied(deployment, keys)

    def test_a_state_of_another_process_is_not_used(
        self, own_server: RedisServer, tmp_path: Path
    ) -> None:
        """A server that was started again holds its keys in another order."""
        made = Deployment(tmp_path, own_server.address)
        made.apply()
        many(made, 3000)
        state = tmp_path / "state"
        self.interrupted(made, state)
        own_server.kill()
        own_server.start()
        keys = many(made, 3000)
        report = feast_rs.migrate_keys(made.new, state=state)
        assert report.migrated > 3000
        assert_copied(made, keys)

    def test_a_state_of_another_job(self, deployment: Deployment, tmp_path: Path) -> None:
        many(deployment, 3000)
        state = tmp_path / "state"
        self.interrupted(deployment, state)
        with pytest.raises(feast_rs.ArgumentError, match="other settings"):
            feast_rs.migrate_keys(deployment.new, state=state, delete=True)
        with pytest.raises(feast_rs.ArgumentError, match=r"nowhere/state: no such directory"):
            feast_rs.migrate_keys(deployment.new, state=tmp_path / "nowhere" / "state")
        state.write_text("{}")
        with pytest.raises(feast_rs.ArgumentError, match="no state file"):
            feast_rs.migrate_keys(deployment.new, state=state)

    def test_lost_connections(self, deployment: Deployment) -> None:
        keys, over = many(deployment, 5000), threading.Event()

        def cut() -> None:
            while not over.wait(0.01):
                deployment.client.execute_command("CLIENT", "KILL", "TYPE", "normal")

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            report = feast_rs.migrate_keys(deployment.new, batch_size=50, delete=True)
        finally:
            over.set()
            cutter.join()
        # A page cut off after it had deleted keys does not find these again.
        assert report.found >= 4000
        assert set(deployment.client.keys()) == set(keys.values())

    def test_no_memory_left(self, own_server: RedisServer, tmp_path: Path) -> None:
        made = Deployment(tmp_path, own_server.address)
        made.apply()
        keys = many(made, 5000)
        made.client.config_set("maxmemory-policy", "noeviction")
        made.client.config_set("maxmemory", made.client.info("memory")["used_memory"] + 200_000)
        with pytest.raises(feast_rs.ServerError, match="OOM"):
            feast_rs.migrate_keys(made.new, delete=True)
        made.client.config_set("maxmemory", 0)
        stored = made.hashes()
        assert all(old in stored or new in stored for old, new in keys.items())
        feast_rs.migrate_keys(made.new, delete=True)
        assert set(made.client.keys()) == set(keys.values())


class Ahead(Proxy):
    """Does things ahead of commands: each step waits for its mark, and is done once."""

    def __init__(self, port: int, steps: list[tuple[bytes, Callable[[], Any]]]) -> None:
        self.steps = steps
        super().__init__(port)

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        if self.steps and self.steps[0][0] in chunk:
            _, act = self.steps.pop(0)
            act()
        super().pass_on(chunk, server)


class TestWritesInBetween:
    """Somebody writes right between two steps of the migration."""

    def migrate(
        self,
        made: Deployment,
        server: RedisServer,
        steps: list[tuple[bytes, Callable[[], Any]]],
        **options: Any,
    ) -> feast_rs.MigrationReport:
        ahead = Ahead(server.port, steps)
        try:
            store = feature_store(OURS, made.directory, ahead.address)
            report = feast_rs.migrate_keys(store, **options)
        finally:
            ahead.close()
        assert not ahead.steps
        return report

    @pytest.mark.parametrize("is_newer", [False, True])
    def test_to_the_new_key(
        self, deployment: Deployment, server: RedisServer, is_newer: bool
    ) -> None:
        when = LATER + timedelta(hours=1 if is_newer else -1)
        write(deployment.stock_old, "driver_stats", stats(1.0), LATER)
        report = self.migrate(
            deployment,
            server,
            [(b"EVALSHA", lambda: write(deployment.stock, "driver_stats", stats(2.0), when))],
        )
        assert (report.skipped, report.merged) == ((1, 0) if is_newer else (0, 1))
        assert read(deployment.stock, "driver_stats:rate") == [2.0 if is_newer else 1.0]

    def test_to_the_old_key_before_it_is_deleted(
        self, deployment: Deployment, server: RedisServer
    ) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        steps: list[tuple[bytes, Callable[[], Any]]] = [
            (b"EVALSHA", lambda: None),
            (b"EVALSHA", lambda: write(deployment.stock_old, "driver_stats", stats(2.0), LATER)),
        ]
        report = self.migrate(deployment, server, steps, delete=True)
        assert (report.migrated, report.deleted, report.kept) == (1, 0, 1)
        assert not report.is_clean
        assert read(deployment.stock_old, "driver_stats:rate") == [2.0]
        report = feast_rs.migrate_keys(deployment.new, delete=True)
        assert (report.merged, report.deleted) == (1, 1)
        assert read(deployment.stock, "driver_stats:rate") == [2.0]

    def test_to_the_copy_before_it_is_verified(
        self, deployment: Deployment, server: RedisServer
    ) -> None:
        """A copy that is not what was written leaves the old key alone."""
        write(deployment.stock_old, "driver_stats", stats(1.0, city="x"), NOON)
        old, new = deployment.driver(1)
        (city,) = (f for f, value in deployment.client.hgetall(old).items() if value.endswith(b"x"))
        for act in (
            lambda: deployment.client.hdel(new, city),
            lambda: deployment.client.hset(new, city, "y"),
            lambda: deployment.client.delete(new),
            lambda: deployment.client.hdel(new, "_ts:driver_stats"),
        ):
            deployment.client.delete(new)
            steps = [(b"EVALSHA", lambda: None), (b"HGETALL", act)]
            report = self.migrate(deployment, server, steps, delete=True)
            assert (report.migrated, report.deleted, report.kept) == (1, 0, 1)
            assert deployment.client.hget(old, city) is not None


class TestRaces:
    """Writers of both versions at work, as in a deployment under way."""

    @pytest.mark.parametrize("delete", [False, True])
    def test_nothing_newer_is_lost(self, server: RedisServer, tmp_path: Path, delete: bool) -> None:
        made = Deployment(tmp_path, server.address, atomic_writes=True)
        drivers.open_store(tmp_path, server.address)
        shares = [races.share(seed) for seed in range(4)]
        stores = [made.old, made.old, made.new, made.new]
        reports, over = [], threading.Event()

        def migrate() -> None:
            while not over.is_set():
                reports.append(feast_rs.migrate_keys(made.new, delete=delete, batch_size=20))

        writers = [
            threading.Thread(target=races.write_share, args=(store, rows, seed))
            for seed, (store, rows) in enumerate(zip(stores, shares, strict=True))
        ]
        migrator = threading.Thread(target=migrate)
        for thread in [migrator, *writers]:
            thread.start()
        for thread in writers:
            thread.join()
        over.set()
        migrator.join()
        reports.append(feast_rs.migrate_keys(made.new, delete=delete))
        assert races.stored_stamps(made.new) == races.newest(shares)
        assert sum(report.merged for report in reports) > 0
        assert not any(report.failed or report.conflicting for report in reports)
        old = [key for key in made.client.scan_iter() if key.startswith(b"\x02\0\0\0")]
        assert bool(old) != delete


class TestTheServersSide:
    """What is sent."""

    def test_scripts_go_by_their_sha(self, own_server: RedisServer, tmp_path: Path) -> None:
        made = Deployment(tmp_path, own_server.address)
        made.apply()
        for first in (True, False):
            made.client.flushdb()
            many(made, 30)
            made.client.config_resetstat()
            assert feast_rs.migrate_keys(made.new, delete=True).deleted == 30
            calls = made.client.info("commandstats")
            assert calls["cmdstat_evalsha"]["calls"] == 60
            assert ("cmdstat_eval" in calls) == first

    def test_a_rate(self, deployment: Deployment) -> None:
        many(deployment, 300)
        start = time.monotonic()
        feast_rs.migrate_keys(deployment.new, rate=400)
        assert 0.6 < time.monotonic() - start < 5

    @pytest.mark.parametrize("options", [{"rate": 0}, {"batch_size": 0}, {"batch_size": 10**6}])
    def test_limits(self, deployment: Deployment, options: dict[str, Any]) -> None:
        with pytest.raises(feast_rs.ArgumentError, match=next(iter(options))):
            feast_rs.migrate_keys(deployment.new, **options)

    def test_no_deletion_while_the_store_reads_version_2(self, deployment: Deployment) -> None:
        many(deployment, 3)
        before = deployment.dump()
        for store in (deployment.old, deployment.stock_old):
            with pytest.raises(feast_rs.ConfigError, match="set entity_key_serialization_version"):
                feast_rs.migrate_keys(store, delete=True)
        assert deployment.dump() == before


class TestCommandLine:
    """``python -m feast_rs migrate-keys``."""

    def test_a_run(
        self, deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = many(deployment, 30)
        repo = repository(deployment, tmp_path)
        before = deployment.dump()
        assert main(["migrate-keys", repo, "--dry-run"]) == 0
        assert "found: 30" in capsys.readouterr().out
        assert deployment.dump() == before
        assert main(["migrate-keys", repo, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["migrated"] == 30
        assert_copied(deployment, keys)
        assert main(["migrate-keys", repo, "--delete", "--view", "customer"]) == 0
        assert "deleted: 0" in capsys.readouterr().out
        assert main(["migrate-keys", repo, "--delete", "--rate", "10000"]) == 0
        assert "deleted: 30" in capsys.readouterr().out
        assert set(deployment.client.keys()) == set(keys.values())

    def test_something_to_look_at(
        self, deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(deployment.stock_old, "driver_stats", stats(1.0), NOON)
        write(deployment.stock, "driver_stats", stats(2.0), NOON)
        assert main(["migrate-keys", repository(deployment, tmp_path)]) == 1
        out = capsys.readouterr().out
        assert re.search(r"conflicting: 1\n    driver_id=1: both have", out)

    def test_errors_are_one_line(
        self, deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repo = repository(deployment, tmp_path, "127.0.0.1:1,password=geheim")
        assert main(["migrate-keys", repo]) == 1
        error = capsys.readouterr().err
        assert error.startswith("feast-rs: ")
        assert error.count("\n") == 1
        assert "127.0.0.1:1" in error
        assert "geheim" not in error
        with pytest.raises(feast_rs.ConnectionError):
            main(["migrate-keys", repo, "--debug"])

    @pytest.mark.parametrize(
        "arguments", [[], ["migrate-keys"], ["migrate-keys", "/nonexistent"], ["other", "."]]
    )
    def test_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "usage: feast-rs" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "options",
        [
            ["--dry-run", "--delete"],
            ["--batch-size", "0"],
            ["--rate", "0"],
            ["--view", "nope"],
            ["--rate", "0", "--debug"],
        ],
    )
    def test_arguments_that_do_not_fit(
        self,
        options: list[str],
        deployment: Deployment,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["migrate-keys", repository(deployment, tmp_path), *options])
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith("usage: feast-rs migrate-keys")

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["migrate-keys", "--help"])
        assert stopped.value.code == 0
        assert "--dry-run" in capsys.readouterr().out

    def test_the_bar(self, deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
        many(deployment, 30)
        feast_rs.migrate_keys(deployment.new, progress="on")
        assert "migrated 30" in capsys.readouterr().err


def test_dumps_tell_apart(server: RedisServer) -> None:
    """What `dump` compares is all that there is: values and times to live."""
    client = redis.Redis(port=server.port)
    client.hset("a", "b", "c")
    before = dump(client)
    client.expire("a", 100)
    assert dump(client) != before
    client.persist("a")
    assert dump(client) == before
    client.hset("a", "b", "d")
    assert dump(client) != before
