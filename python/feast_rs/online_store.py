"""The online store that Feast is pointed at by ``type: feast_rs.RedisOnlineStore``."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from feast import Entity, FeatureService, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feast_rs import _core, deletion, dtypes, event_loop, feast_compat
from feast_rs.assembly import of_vectors, respond, versions_wanted
from feast_rs.config import RedisOnlineStoreConfig
from feast_rs.entity_rows import columnar, plain_columns
from feast_rs.fallback import OutageLog
from feast_rs.request import BoundRequest, Planner, bind
from feast_rs.response import parse_cells
from feast_rs.writing import Progress, Row, message_batch, policy_of, report_progress

if TYPE_CHECKING:
    from feast_rs.diagnosis import Diagnosis

__all__ = ["RedisOnlineStore", "RedisOnlineStoreConfig"]

logger = logging.getLogger(__name__)

# Clients that a store keeps. It has one configuration, and seldom a second.
_CLIENTS = 4

ReadRow = tuple[datetime | None, dict[str, Value] | None]


class RedisOnlineStore(OnlineStore):
    """Feast's online store on Redis: stock Feast's keys, values and answers, read and written in
    Rust without the GIL.

    It connects at the first call, and again in a forked child; it can be used from any thread and
    any event loop, and pickled.
    """

    def __init__(self) -> None:
        self._clients: dict[str, _core.Client] = {}
        self._planner = Planner()
        self._outages = OutageLog()
        feast_compat.register_as_stock_store(RedisOnlineStore)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), ())

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Both reads and writes."""
        return SupportedAsyncMethods(read=True, write=True)

    # Reads

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | Mapping[str, Any],
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
        **unknown: Any,
    ) -> Any:
        """Reads features; see ``feast.FeatureStore.get_online_features``.

        Raises:
            MissingJoinKeyError: The rows lack a join key.
            EntityKeyError: A join key's value is null or of a wrong type.
            ConnectionError, TimeoutError, ServerError, ProtocolError: Redis did not answer as it
                should. With ``on_error: defaults`` default values are answered during an outage,
                see ``docs/fallback.md``; precomputed services raise all the same.
        """
        if _is_precomputed(features):
            stock = super().get_online_features(
                config,
                features,
                plain_columns(entity_rows),
                registry,
                project,
                full_feature_names,
                **versions_wanted(include_feature_view_version_metadata),
            )
            return of_vectors(stock, registry, project, features, full_feature_names)
        request = self._bind(config, features, entity_rows, registry, project, full_feature_names)
        client, read = self._begin_read(config, request)
        start = time.monotonic()
        answer = client.read(*read)
        self._outages.note(answer)
        feast_compat.track_read(start, request.plan.context, answer)
        return respond(request, answer, full_feature_names, include_feature_view_version_metadata)

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | Mapping[str, Any],
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
        **unknown: Any,
    ) -> Any:
        """Reads features without blocking the event loop; raises what
        :meth:`get_online_features` does."""
        if _is_precomputed(features):
            stock = await super().get_online_features_async(
                config,
                features,
                plain_columns(entity_rows),
                registry,
                project,
                full_feature_names,
                **versions_wanted(include_feature_view_version_metadata),
            )
            return of_vectors(stock, registry, project, features, full_feature_names)
        request = self._bind(config, features, entity_rows, registry, project, full_feature_names)
        client, read = self._begin_read(config, request)
        start = time.monotonic()
        answer = await event_loop.run(
            lambda completions, token: client.read_async(*read, completions, token)
        )
        self._outages.note(answer)
        feast_compat.track_read(start, request.plan.context, answer)
        return respond(request, answer, full_feature_names, include_feature_view_version_metadata)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Reads one feature view for entity keys; see ``OnlineStore.online_read``.

        It has no statuses that could tell default values from others, so it raises in an outage
        whatever ``on_error`` says.
        """
        client = self._connected(config)
        names, read = _entities_read(config, table, entity_keys, requested_features)
        return _read_rows(names, client.read_entities(*read))

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Reads one feature view for entity keys without blocking the event loop; raises what
        :meth:`online_read` does."""
        client = self._connected(config)
        names, read = _entities_read(config, table, entity_keys, requested_features)
        answer = await event_loop.run(
            lambda completions, token: client.read_entities_async(*read, completions, token)
        )
        return _read_rows(names, answer)

    def read_precomputed_vectors(
        self,
        config: RepoConfig,
        feature_service_name: str,
        project: str,
        entity_keys: list[EntityKey],
    ) -> list[bytes | None]:
        """Reads precomputed vectors; unlike stock Feast's, an error is raised, not taken for a
        vector that is not there."""
        view = deletion.precomputed_view(feature_service_name)
        return _vectors(self.online_read(config, view, entity_keys, ["vector"]))

    async def read_precomputed_vectors_async(
        self,
        config: RepoConfig,
        feature_service_name: str,
        project: str,
        entity_keys: list[EntityKey],
    ) -> list[bytes | None]:
        """Reads precomputed vectors without blocking the event loop."""
        view = deletion.precomputed_view(feature_service_name)
        return _vectors(await self.online_read_async(config, view, entity_keys, ["vector"]))

    # Writes

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Progress | None,
    ) -> None:
        """Writes rows; see ``OnlineStore.online_write_batch``.

        A row that is not newer than the stored one, or than an earlier row of the batch, is
        skipped unless ``skip_dedup`` is set.

        Raises:
            ServerError: Redis refused a row; the message has the view, the entity, Redis' words
                and how many rows were acknowledged.
        """
        batch = message_batch(config, table, data)
        policy = policy_of(config.online_store, table)
        report_progress(progress, *self._connected(config).write(batch, policy))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Progress | None,
    ) -> None:
        """Writes rows without blocking the event loop."""
        batch = message_batch(config, table, data)
        policy = policy_of(config.online_store, table)
        client = self._connected(config)
        outcome = await event_loop.run(
            lambda completions, token: client.write_async(batch, policy, completions, token)
        )
        report_progress(progress, *outcome)

    # The store's life

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Deletes the data of feature views that are gone, if ``full_scan_for_deletion``."""
        if config.online_store.full_scan_for_deletion:
            for table in tables_to_delete:
                self.delete_table(config, table)

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],
    ) -> None:
        """Deletes all data of this project's entities that the tables are about."""
        for join_keys in sorted({tuple(table.join_keys) for table in tables}):
            self.delete_entity_values(config, list(join_keys))

    def delete_entity_values(self, config: RepoConfig, join_keys: list[str]) -> None:
        """Deletes every key of these join keys in this project, and in no other."""
        deletion.delete_entities(self._connected(config), config, join_keys)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Deletes a feature view's data; keys that hold no other view's go with it."""
        deletion.delete_view(self._connected(config), config, table)

    def diagnose(
        self,
        config: RepoConfig,
        registry: Any = None,
        project: str | None = None,
        *,
        sample: int = 200,
        timeout: float = 5.0,
    ) -> Diagnosis:
        """Examines the servers, the configuration, and whether what is stored is what the registry
        says; see :func:`feast_rs.diagnose`. Without a registry views and types are not compared.
        """
        from feast_rs.diagnosis import examine

        settings = config.online_store
        used = self._clients.get(settings.connection_key)
        project = project or config.project
        return examine(settings, config, registry, project, sample, timeout, used)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def _get_client(self, online_store_config: Any) -> deletion.KeyScanner:
        """What ``FeatureStore.precompute_feature_service`` looks for entities with."""
        return deletion.KeyScanner(self.client(online_store_config))

    # What calls have in common

    def _bind(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | Mapping[str, Any],
        registry: Any,
        project: str,
        full_feature_names: bool,
    ) -> BoundRequest:
        columns = columnar(entity_rows)
        plan = self._planner.plan(
            config, registry, project, features, full_feature_names, tuple(columns)
        )
        return bind(plan, columns)

    def _begin_read(
        self, config: RepoConfig, request: BoundRequest
    ) -> tuple[_core.Client, tuple[_core.Plan, Sequence[_core.KeyColumn], int, bool, bool]]:
        """The client, and what its ``read`` takes."""
        settings = config.online_store
        defaults = settings.on_error == "defaults"
        read = (request.plan.core, request.keys, request.rows, settings.strict_status, defaults)
        return self.client(settings), read

    def _connected(self, config: RepoConfig) -> _core.Client:
        return self.client(config.online_store)

    def client(self, settings: RedisOnlineStoreConfig) -> _core.Client:
        """The client of these settings, made when it is first asked for."""
        key = settings.connection_key
        client = self._clients.get(key)
        if client is not None:
            return client
        # No lock, which another thread could hold while this process is forked: of threads that
        # come here together one wins, and the others' clients have not connected to anything.
        made = _core.Client(settings.connection_settings())
        client = self._clients.setdefault(key, made)
        if client is made:
            for notice in client.notices:
                logger.warning("online_store: %s", notice)
            for oldest in list(self._clients)[:-_CLIENTS]:
                self._clients.pop(oldest, None)
        return client


def _is_precomputed(features: Any) -> bool:
    return isinstance(features, FeatureService) and getattr(features, "precompute_online", False)


def _entities_read(
    config: RepoConfig,
    table: FeatureView,
    entity_keys: list[EntityKey],
    requested: list[str] | None,
) -> tuple[list[str], tuple[_core.Plan, list[bytes], int, str]]:
    """The features' names, and what a client's ``read_entities`` takes."""
    names = list(requested) if requested else [field.name for field in table.features]
    declared = {field.name: field.dtype for field in table.features}
    version, project = config.entity_key_serialization_version, config.project
    plan = _core.Plan([])
    group = plan.add_group([], [], version, project)
    view = feast_compat.stored_view_name(table, config)
    for name in names:
        plan.add_column(group, name, view, name, dtypes.spell(declared.get(name)), None)
    return names, (plan, [key.SerializeToString() for key in entity_keys], version, project)


def _read_rows(names: list[str], answer: _core.Answer) -> list[ReadRow]:
    if not names:
        return [(None, None)] * answer.num_rows
    _, (seconds, nanos) = answer.event_times()[0]
    columns = parse_cells(answer)
    times = [
        datetime.fromtimestamp(second, tz=timezone.utc).replace(microsecond=nano // 1000)
        for second, nano in zip(seconds.tolist(), nanos.tolist(), strict=True)
    ]
    return [
        (time, dict(zip(names, values, strict=True)))
        for time, *values in zip(times, *columns, strict=True)
    ]


def _vectors(rows: list[ReadRow]) -> list[bytes | None]:
    values = [features["vector"] if features else Value() for _, features in rows]
    return [value.bytes_val if value.HasField("bytes_val") else None for value in values]
