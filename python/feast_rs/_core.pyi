"""The Rust core of feast-rs."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "Answer",
    "Client",
    "Column",
    "Completions",
    "CredentialPromise",
    "EncodedRows",
    "KeyColumn",
    "KeyMigration",
    "KeyOwner",
    "LatestRows",
    "Plan",
    "RowSchema",
    "Task",
    "WriteBatch",
    "WritePolicy",
    "WriteStream",
    "check_settings",
    "columns_of_rows",
    "decode_values",
    "encode_values",
    "parse_keys",
    "serialize_keys",
    "view_fields",
]

@final
class KeyColumn:
    """The values of one join key, converted once."""

    @staticmethod
    def convert(values: Any, declared: str | None = None) -> KeyColumn | None: ...
    @staticmethod
    def of(values: list[Any], value_type: str) -> KeyColumn: ...
    @property
    def value_type(self) -> str: ...
    def __len__(self) -> int: ...

@final
class KeyOwner:
    """Knows the Redis keys of one set of join keys in one project."""

    def __new__(cls, join_keys: Sequence[str], version: int, project: str) -> KeyOwner: ...
    @property
    def pattern(self) -> bytes: ...
    def owns(self, key: bytes) -> bool: ...

@final
class LatestRows:
    """Finds each entity's latest row in a source that is scanned several times.

    ``passes`` is to be asked for again before each pass: the entities that do not fit into
    ``memory_bytes`` at once are left to later ones.
    """

    def __new__(
        cls,
        join_keys: Sequence[str],
        event_timestamp: str,
        created_timestamp: str | None,
        rows_hint: int,
        memory_bytes: int,
    ) -> LatestRows: ...
    @property
    def passes(self) -> int: ...
    def start(self, number: int) -> None: ...
    def add(self, batch: Any) -> None: ...
    def finish(self) -> None: ...
    def mask(self, rows: int) -> Any: ...
    @property
    def latest(self) -> int: ...
    @property
    def rows(self) -> int: ...

@final
class Plan:
    """A compiled feature list."""

    def __new__(cls, key_names: Sequence[str]) -> Plan: ...
    def add_group(
        self, join_keys: Sequence[str], key_columns: Sequence[int], version: int, project: str
    ) -> int: ...
    def add_column(
        self,
        group: int,
        name: str,
        view: str,
        feature: str,
        dtype: str,
        ttl: float | None = None,
        default: bytes | None = None,
    ) -> None: ...

@final
class Column:
    """A column of serialized values that does not come from Redis' hashes."""

    def __new__(
        cls,
        name: str,
        dtype: str,
        cells: Sequence[bytes],
        statuses: Sequence[int] | None = None,
        times: Sequence[tuple[int, int]] | None = None,
    ) -> Column: ...
    @staticmethod
    def of_array(name: str, dtype: str, array: Any, value_type: str) -> Column: ...
    def __len__(self) -> int: ...

@final
class Answer:
    """The answer to a read."""

    @staticmethod
    def of_columns(rows: int, columns: Sequence[Column]) -> Answer: ...
    def surround(self, front: Sequence[int | Column], after: Sequence[Column]) -> None: ...
    def retain(self, names: Sequence[str]) -> None: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def unanswered(self) -> tuple[int, str] | None: ...
    def unanswered_rows(self, groups: Sequence[int]) -> list[bool]: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def early_values(self) -> int: ...
    def to_dict(self, event_times: bool) -> dict[str, Any]: ...
    def record_batch(self, event_times: bool) -> Any: ...
    def pyarrow_batch(self, event_times: bool) -> Any: ...
    @property
    def dtypes(self) -> list[str]: ...
    def matrix(
        self, names: Sequence[str], numbers: bool, double: bool, null: float
    ) -> npt.NDArray[Any]: ...
    def message(self, versions: Sequence[tuple[str, int]]) -> bytes: ...
    def cells(self) -> list[list[bytes | None]]: ...
    def reject(self, column: int, row: int, cause: str) -> None: ...
    def statuses(self) -> dict[str, npt.NDArray[np.uint8]]: ...
    def event_times(
        self,
    ) -> list[tuple[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]]: ...

@final
class WritePolicy:
    """How rows are written."""

    def __new__(
        cls,
        newest: str,
        key_ttl: int | None = None,
        renew_skipped: bool = False,
        field_ttl: float | None = None,
        restores: bool = False,
    ) -> WritePolicy: ...

@final
class WriteBatch:
    """Rows of one feature view on their way to Redis; written once."""

    def __new__(cls, view: str, project: str, version: int) -> WriteBatch: ...
    def add(
        self, entity_key: bytes, seconds: int, nanos: int, features: dict[str, bytes]
    ) -> None: ...

@final
class EncodedRows:
    """Encoded rows; written once."""

@final
class RowSchema:
    """Which columns of a record batch make the rows of a feature view."""

    def __new__(
        cls,
        view: str,
        project: str,
        version: int,
        keys: Sequence[tuple[str, str, str | None]],
        features: Sequence[tuple[str, str]],
        event_timestamp: str | tuple[int, int],
        partial: bool = False,
        skip_nulls: bool = False,
    ) -> RowSchema: ...
    def rows(self, batch: Any) -> list[EncodedRows]: ...

@final
class WriteStream:
    """Record batches on their way to Redis."""

    def __new__(
        cls, client: Client, schema: RowSchema, policy: WritePolicy, retry_seconds: float
    ) -> WriteStream: ...
    def write(self, batch: Any) -> None: ...
    def counts(self) -> tuple[int, int, int, int, int, tuple[int, int] | None]: ...
    def finish(self) -> tuple[int, int, int, int, int, tuple[int, int] | None]: ...
    def abort(self) -> None: ...

@final
class Completions:
    """The queue of one event loop."""

    def __new__(cls) -> Completions: ...
    def fileno(self) -> int: ...
    def drain(self) -> list[tuple[int, Any | None, BaseException | None]]: ...

@final
class Task:
    """A task under way."""

    def cancel(self) -> None: ...

@final
class CredentialPromise:
    """Takes what a credential provider answers."""

    def keep(self, username: str | None, password: str, seconds: float | None) -> None: ...
    def fail(self, message: str, misconfigured: bool) -> None: ...

@final
class Client:
    """A client of one Redis."""

    def __new__(cls, settings: str) -> Client: ...
    @property
    def notices(self) -> list[str]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    def read(
        self, plan: Plan, keys: Sequence[KeyColumn], rows: int, strict: bool, defaults: bool
    ) -> Answer: ...
    def read_async(
        self,
        plan: Plan,
        keys: Sequence[KeyColumn],
        rows: int,
        strict: bool,
        defaults: bool,
        completions: Completions,
        token: int,
    ) -> Task: ...
    def read_entities(
        self, plan: Plan, entities: Sequence[bytes], version: int, project: str
    ) -> Answer: ...
    def read_entities_async(
        self,
        plan: Plan,
        entities: Sequence[bytes],
        version: int,
        project: str,
        completions: Completions,
        token: int,
    ) -> Task: ...
    def write(
        self, batch: WriteBatch | Sequence[EncodedRows], policy: WritePolicy
    ) -> tuple[int, int]: ...
    def write_async(
        self,
        batch: WriteBatch | Sequence[EncodedRows],
        policy: WritePolicy,
        completions: Completions,
        token: int,
    ) -> Task: ...
    def execute(
        self,
        commands: Sequence[Sequence[bytes]],
        address: str | None = None,
        timeout: float | None = None,
    ) -> list[Any]: ...
    def primaries(self) -> list[str]: ...
    def nodes(self, refresh: bool = False) -> list[dict[str, Any]]: ...

@final
class KeyMigration:
    """Recognizes a project's keys of version 2 and migrates them to version 3."""

    def __new__(
        cls,
        project: str,
        join_keys: Sequence[tuple[Sequence[str], bool]],
        views: Sequence[tuple[str, Sequence[str]]],
        field_expiry: bool,
    ) -> KeyMigration: ...
    @property
    def pattern(self) -> bytes: ...
    def run(
        self, client: Client, keys: Sequence[bytes], dry_run: bool, delete: bool
    ) -> tuple[dict[str, int], list[tuple[str, str]]]: ...

def check_settings(settings: str) -> None: ...
def columns_of_rows(rows: list[Any]) -> dict[str, list[Any]]: ...
def decode_values(cells: Any, dtype: str) -> Any: ...
def encode_values(array: Any, dtype: str) -> Any: ...
def parse_keys(keys: Sequence[bytes], version: int, join_keys: Sequence[str]) -> Any: ...
def serialize_keys(
    names: Sequence[str], columns: Sequence[KeyColumn], version: int, suffix: bytes
) -> Any: ...
def view_fields(view: str, features: Sequence[str]) -> list[bytes]: ...
