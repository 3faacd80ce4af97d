"""The ``online_store`` section of ``feature_store.yaml``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel
from pydantic import ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from feast_rs import _core
from feast_rs.errors import ConfigError

OURS = "feast_rs.RedisOnlineStore"

# Settings that can hold a password or a token.
_SECRETS = frozenset(
    {
        "connection_string",
        "password",
        "auth_token",
        "username",
        "sentinel_password",
        "sentinel_username",
    }
)

#: Settings about what is written and answered; all others are about the connection.
STORE_SETTINGS = frozenset(
    {
        "type",
        "key_ttl_seconds",
        "renew_ttl_on_skip",
        "ttl_per_view",
        "full_scan_for_deletion",
        "skip_dedup",
        "atomic_writes",
        "restore_new_keys",
        "strict_status",
        "on_error",
        "default_values",
    }
)


class RedisOnlineStoreConfig(FeastConfigBaseModel):
    """Configuration of :class:`feast_rs.RedisOnlineStore`.

    Stock Feast's settings are accepted as they are, ``connection_string`` also as a URL
    (``redis://``, ``rediss://``, ``unix://``). A setting of its own (``password``, ``ssl``...)
    wins over the same one inside ``connection_string``.
    """

    # A validation error must not quote the connection string.
    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True
    )

    type: Literal["feast_rs.RedisOnlineStore", "feast_rs.online_store.RedisOnlineStore"] = (
        "feast_rs.RedisOnlineStore"
    )
    """Selects this store."""

    redis_type: Literal["redis", "redis_cluster", "redis_sentinel"] = "redis"
    """What runs at the addresses: a standalone server, the nodes of a cluster, or Sentinels."""

    client: Literal["redis", "glide"] = "redis"
    """Stock Feast's choice of client library; ignored."""

    sentinel_master: str = "mymaster"
    """The name under which Sentinel knows the primary."""

    sentinel_username: str | int | None = None
    """ACL user of the Sentinels themselves; ``username`` is the data servers'."""

    sentinel_password: str | int | None = None
    """Password of the Sentinels themselves."""

    sentinel_ssl: bool | None = None
    """Speak TLS with the Sentinels, too, with the ``ssl_*`` settings; false unless given."""

    connection_string: str = "localhost:6379"
    """``host:port,host:port,parameter=value,...`` as in stock Feast, or a URL. A list of
    ``host:port`` is joined by commas."""

    replicas: list[str] | str | None = None
    """``host:port`` of each replica of a standalone server, as a list or with commas between. Asked
    for with ROLE unless given."""

    read_from: Literal["primary", "replica", "prefer_replica", "lowest_latency"] | None = None
    """Which servers answer reads; ``primary`` unless given. A replica may lag behind."""

    topology_refresh_seconds: float | None = Field(default=None, ge=0)
    """How old the known topology of a cluster, or Sentinel's word, may become; 60 unless given. 0
    asks again only when something tells that it is outdated."""

    breaker: bool | None = None
    """Leave a server alone for a while when it fails; false unless given."""

    breaker_window_seconds: float | None = Field(default=None, gt=0)
    """How far back the breaker counts calls, in seconds; 10 unless given."""

    breaker_min_calls: int | None = Field(default=None, ge=1)
    """How many calls it takes to say something, and how many failures in a row; 10 unless given."""

    breaker_failure_percent: float | None = Field(default=None, ge=1, le=100)
    """How many of them must have failed; 50 unless given."""

    breaker_slow_ms: float | None = Field(default=None, ge=0)
    """A call that takes longer than this counts as failed; unless given none does."""

    breaker_open_seconds: float | None = Field(default=None, gt=0)
    """How long no call is made until one is tried; 1 unless given."""

    hedge_percentile: float | None = Field(default=None, ge=50, le=99.9)
    """Send a read to a second server, too, when the first has not answered within this percentile
    of its recent latencies; off unless given."""

    hedge_min_ms: float | None = Field(default=None, ge=0)
    """But not before this time has passed; 1 unless given."""

    hedge_max_percent: float | None = Field(default=None, ge=0.1, le=100)
    """How many of the reads may be sent twice; 10 unless given."""

    max_pending_bytes: int | None = Field(default=None, ge=1)
    """Commands, in bytes, of all requests under way or waiting; 64 MiB unless given. A request
    beyond it fails at once."""

    key_ttl_seconds: int | None = Field(default=None, ge=0)
    """Time to live of an entity's key, set anew by each write to it."""

    renew_ttl_on_skip: bool = False
    """Whether a row that is skipped as not newer renews its key's ``key_ttl_seconds``, too."""

    ttl_per_view: bool = False
    """Let a row's fields expire when its view's ``ttl`` has passed since its event timestamp. Needs
    Redis 7.4 or Valkey 9, or later."""

    full_scan_for_deletion: bool | None = True
    """Whether a deleted feature view's data is looked for in all of Redis and removed."""

    skip_dedup: bool = False
    """Write every row without comparing its event timestamp with the stored one."""

    atomic_writes: bool = False
    """Compare event timestamps and write in one step inside Redis, by a script, so that of writers
    that race the newest row stays. Otherwise, as in stock Feast, the stored timestamps are read
    first."""

    restore_new_keys: bool = True
    """Let materialization and ``write_batches`` send a row whose entity has nothing in Redis yet as
    one RESTORE, which costs Redis far less than HSET and never replaces a key. Servers that do not
    take it get HSET: those older than Redis 7.0, and users without the right to RESTORE."""

    strict_status: bool = False
    """Answer NOT_FOUND for what is not stored and OUTSIDE_MAX_AGE, with a null, for a row older
    than its view's ``ttl``; stock Feast answers PRESENT for both."""

    on_error: Literal["raise", "defaults"] = "raise"
    """What a read answers for features whose server cannot be reached: an exception, or default
    values with the status INVALID."""

    default_values: dict[str, Any] | None = None
    """With ``on_error: defaults``, the value of a feature by ``view:feature``; null for all others.
    The tag ``feast_rs.default`` of a field says the same in the definitions."""

    db: int | None = Field(default=None, ge=0)
    """Number of the database."""

    username: str | int | None = None
    """ACL user."""

    password: str | int | None = None
    """Password. YAML reads ``password: 123456`` as a number; it is taken as the text."""

    auth_token: str | int | None = None
    """ElastiCache's word for the password."""

    credential_provider: str | None = None
    """``package.module.function`` or ``package.module:function`` of a callable that issues the
    password, or ``(username, password)``, or ``(username, password, seconds it lives)``."""

    credential_refresh_seconds: float | None = Field(default=None, gt=0)
    """How long credentials are used that come without a life time; 600 unless given."""

    ssl: bool | None = None
    """Speak TLS, with verification unless ``ssl_cert_reqs: none``."""

    ssl_cert_reqs: str | None = None
    """``required`` (the default) or ``none``, which turns verification off."""

    ssl_ca_certs: str | None = None
    """Path of a PEM file with the authorities to trust, in place of the system's."""

    ssl_ca_path: str | None = None
    """Path of a directory of such files."""

    ssl_ca_data: str | None = None
    """The authorities themselves, as PEM text."""

    ssl_certfile: str | None = None
    """Path of the client's certificate, PEM."""

    ssl_keyfile: str | None = None
    """Path of the client's key, PEM."""

    ssl_check_hostname: bool | None = None
    """Whether the certificate must name the host; true unless verification is off."""

    ssl_server_name: str | None = None
    """The name that the certificate must have, where it is not the host's."""

    ssl_min_version: str | int | None = None
    """The oldest TLS version to speak; 1.2 unless given."""

    socket_timeout: float | None = Field(default=None, ge=0)
    """The longest silence of the server, in seconds; 10 unless given, 0 for no limit."""

    socket_connect_timeout: float | None = Field(default=None, ge=0)
    """Seconds to be connected and logged in; unless given ``socket_timeout``'s, or else 5. 0 is no
    limit."""

    request_timeout_ms: int | None = Field(default=10_000, ge=0)
    """Limit on a whole read, in milliseconds; 0 or null for no limit."""

    write_timeout_ms: int | None = Field(default=None, ge=0)
    """Limit on a whole ``online_write_batch`` or ``push``, in milliseconds; no limit unless given.
    Materialization and ``write_batches`` have ``retry_seconds`` instead."""

    socket_keepalive: bool | None = None
    """TCP probes on idle connections; true unless given."""

    tcp_keepalive: bool | None = None
    """The same as ``socket_keepalive``."""

    redis_pool_size: int | None = Field(default=None, ge=1)
    """Connections at the most, for blocking and for async calls each; 64 unless given."""

    max_connections: int | None = Field(default=None, ge=1)
    """The same as ``redis_pool_size``."""

    busy_poll_us: int | None = Field(default=None, ge=0)
    """Microseconds that a blocking call looks for a reply before its thread sleeps; 100 unless
    given, 0 for never. A server that does not answer within them is seldom looked for."""

    read_by_dump: bool | None = None
    """Whether wide hashes of short values may be read by ``DUMP`` in place of ``HGETALL``; true
    unless given."""

    max_reply_bytes: int | None = Field(default=None, ge=1)
    """The largest reply to one request; 1 GiB unless given."""

    client_name: str | None = None
    """The name that the connections have in Redis' ``CLIENT LIST``."""

    unix_socket_path: str | None = None
    """Path of a Unix socket, in place of host and port."""

    _connection_key: str = PrivateAttr(default="")
    _defaults_key: str | None = PrivateAttr(default=None)

    def __init__(self, **settings: Any) -> None:
        """Takes the section's settings.

        Raises:
            ConfigError: A setting is unknown, of a wrong type, or cannot be used.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @field_validator("connection_string", mode="before")
    @classmethod
    def _join_servers(cls, given: Any) -> Any:
        if isinstance(given, (list, tuple)) and all(isinstance(part, str) for part in given):
            return ",".join(given)
        return given

    def model_post_init(self, context: Any, /) -> None:
        """Rejects what cannot be used when the file is read, not at the first request."""
        self._check()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in type(self).model_fields:
            self._check()

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> RedisOnlineStoreConfig:
        """A copy with some settings changed."""
        copied = super().model_copy(update=update, deep=deep)
        copied._check()
        return copied

    @property
    def connection_key(self) -> str:
        """Equal for settings that lead to the same connections; tells nothing of them."""
        # Read at every request; `self._connection_key` would take pydantic 2 us.
        key: str = (self.__pydantic_private__ or {})["_connection_key"]
        return key

    @property
    def defaults_key(self) -> str | None:
        """Equal for settings that lead to the same default values; None if there are to be none."""
        key: str | None = (self.__pydantic_private__ or {})["_defaults_key"]
        return key

    def _check(self) -> None:
        if self.atomic_writes and self.skip_dedup:
            raise ConfigError(
                "online_store: skip_dedup writes every row and atomic_writes only newer ones: "
                "choose one"
            )
        self._check_defaults()
        values = sorted((self.default_values or {}).items(), key=lambda item: item[0])
        self._defaults_key = repr(values) if self.on_error == "defaults" else None
        settings = self.connection_settings()
        _core.check_settings(settings)
        self._connection_key = hashlib.sha256(settings.encode()).hexdigest()

    def _check_defaults(self) -> None:
        for name in self.default_values or {}:
            view, colon, feature = name.partition(":")
            if not (view and colon and feature):
                raise ConfigError(
                    f"online_store: default_values: {name!r} is not written as view:feature"
                )
        # An explicit `on_error: raise` is a switch; without one they were forgotten, which would
        # be noticed in an outage.
        if self.default_values and "on_error" not in self.model_fields_set:
            raise ConfigError(
                "online_store: default_values are used with on_error: defaults only; set it (or "
                "on_error: raise)"
            )

    def connection_settings(self) -> str:
        """What :class:`feast_rs._core.Client` needs to know, as JSON."""
        return json.dumps(self.model_dump(exclude=set(STORE_SETTINGS), exclude_unset=True))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "***" if name in _SECRETS and value is not None else value


def _explain(error: ValidationError) -> str:
    """What is wrong with which settings; without their values, which may be secret."""
    faults = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return f"online_store: {'; '.join(faults)}"


def redis_settings(config: Any) -> RedisOnlineStoreConfig:
    """The ``online_store`` section of a ``RepoConfig``, also where it is stock Feast's for Redis.

    Raises:
        ConfigError: The online store is not Redis.
    """
    settings = config.online_store
    if isinstance(settings, RedisOnlineStoreConfig):
        return settings
    if type(settings).__module__ == "feast.infra.online_stores.redis":
        given = settings.model_dump(exclude_unset=True)
        return RedisOnlineStoreConfig(**{**given, "type": OURS})
    raise ConfigError(
        f"the online store is {type(settings).__name__}, and not Redis: set online_store.type to "
        f"{OURS}"
    )


# Feast looks for the store in the module of its configuration's class.
RedisOnlineStoreConfig.__module__ = "feast_rs"
