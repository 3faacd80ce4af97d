"""Everything that depends on the release of Feast."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

from feast import utils
from feast.errors import FeastObjectNotFoundException
from feast.online_response import OnlineResponse as FeastOnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.value_type import ValueType

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureService, FeatureStore

from feast_rs import _core

logger = logging.getLogger(__name__)

PRESENT = FieldStatus.PRESENT
INVALID = FieldStatus.INVALID

#: The join key of the views that have no entity.
DUMMY_JOIN_KEY = "__dummy_id"


class RequestContext(NamedTuple):
    """What Feast finds out about a feature list from the registry."""

    feature_refs: list[str]
    on_demand_views: list[Any]
    join_key_by_entity: dict[str, str]
    type_by_join_key: dict[str, ValueType]
    join_keys: set[str]
    views: list[tuple[Any, list[str]]]
    result_names: frozenset[str]
    request_data: set[str]
    has_entityless_view: bool


def request_context(
    registry: Any, project: str, features: list[str] | FeatureService, full_feature_names: bool
) -> RequestContext:
    """Resolves a feature list through Feast, with all its checks and errors."""
    cached: Callable[..., tuple[Any, ...]] | None = getattr(
        utils, "_get_cached_request_context", None
    )
    if cached is not None:
        return RequestContext(*cached(registry, project, features, full_feature_names))
    return RequestContext(*_resolve(registry, project, features, full_feature_names))


def _resolve(
    registry: Any, project: str, features: list[str] | FeatureService, full_feature_names: bool
) -> tuple[Any, ...]:
    """The steps of `_get_online_request_context` for releases that did not have it."""
    resolve = getattr(utils, "_get_online_request_context", None)
    if resolve is not None:
        context = list(resolve(registry, project, features, full_feature_names))
    else:
        refs = utils._get_features(registry, project, features, allow_cache=True)
        views, on_demand = utils._get_feature_views_to_use(
            registry=registry,
            project=project,
            features=features,
            allow_cache=True,
            hide_dummy_entity=False,
        )
        by_entity, types, join_keys = utils._get_entity_maps(registry, project, views)
        utils._validate_feature_refs(refs, full_feature_names)
        grouped, grouped_on_demand = utils._group_feature_refs(refs, views, on_demand)
        names = set()
        for ref in refs:
            view, _, feature = ref.rpartition(":")
            names.add(f"{view}__{feature}" if full_feature_names else feature)
        context = [
            refs,
            on_demand,
            by_entity,
            types,
            join_keys,
            grouped,
            names,
            utils.get_needed_request_data(grouped_on_demand),
            any("__dummy" in (view.entities or []) for view, _ in grouped),
        ]
    join_keys = set(context[4])
    for view in context[1]:
        for entity in getattr(view, "entities", None) or []:
            if isinstance(entity, str):
                entity = registry.get_entity(entity, project, allow_cache=True)
            join_keys.add(entity)
    context[4] = join_keys
    context[6] = frozenset(context[6])
    return tuple(context)


def registry_state(registry: Any) -> object | None:
    """A value that changes when the registry's content may have; None when nothing is cached
    and every request has to ask."""
    created = getattr(registry, "cached_registry_proto_created", None)
    valid = getattr(registry, "is_cache_valid", None)
    if created is None or valid is None or not valid():
        return None
    return (id(registry), created)


def keeps_versions_online(config: Any) -> bool:
    """Whether each version of a feature view is stored under a name of its own."""
    return bool(getattr(config.registry, "enable_online_feature_view_versioning", False))


def stored_view_name(view: Any, config: Any) -> str:
    """The view's name in Redis: with a ``_vN`` suffix when versions are kept online."""
    name: str = view.name
    if keeps_versions_online(config):
        version = getattr(view.projection, "version_tag", None)
        if version is None:
            version = getattr(view, "current_version_number", None)
        if version is not None and version > 0:
            name = f"{name}_v{version}"
    return name


def is_on_demand(view: Any) -> bool:
    """Whether a view's rows come from a transformation, and so have no source nor time."""
    return hasattr(view, "source_feature_view_projections")


def source_views(view: Any) -> set[str]:
    """The names of the views that an on-demand view takes features of."""
    return {projection.name for projection in view.source_feature_view_projections.values()}


def stored_features(registry: Any, project: str, view: str) -> set[str] | None:
    """The names of a view's features that are stored online: none if there is no such view. None
    for a release of Feast that cannot tell."""
    find = getattr(registry, "get_any_feature_view", None)
    if find is None:
        return None
    try:
        found = find(view, project, allow_cache=True)
    except FeastObjectNotFoundException:
        return set()
    if is_on_demand(found) and not getattr(found, "write_to_online_store", False):
        return set()
    return {field.name for field in found.features}


def has_rows(view: Any) -> bool:
    """Whether rows of a view are keyed and timed by its own definition: feature views with a batch
    source, and on-demand views; not label views."""
    return is_on_demand(view) or (
        getattr(view, "batch_source", None) is not None and hasattr(view, "entity_columns")
    )


def check_vectors(batch: pa.RecordBatch, view: Any) -> None:
    """Feast's check that a vector column is as wide as declared; raises ``ValueError``."""
    check = getattr(utils, "_validate_vector_field_lengths", None)
    # Most views have none, and to find that out by itself Feast makes the schema anew.
    fields = [*view.entity_columns, *view.features]
    if check is not None and any(field.vector_index for field in fields):
        check(batch, view)


def declared_types(views: list[tuple[Any, list[str]]]) -> dict[str, Any]:
    """The declared types of the requested features, by plain and by full name."""
    types = {}
    for view, features in views:
        view_name = view.projection.name_to_use()
        for field in view.features:
            if field.name in features:
                types[field.name] = types[f"{view_name}__{field.name}"] = field.dtype
    return types


def feature_types(views: list[tuple[Any, list[str]]]) -> dict[str, ValueType]:
    """The value types of the requested features, by plain and by full name."""
    return {name: dtype.to_value_type() for name, dtype in declared_types(views).items()}


def requested_columns(context: RequestContext, full_feature_names: bool) -> list[str]:
    """The names of the features' columns in the order of the request."""
    names = []
    for ref in context.feature_refs:
        view, version, feature = _parse_ref(ref)
        if version is not None:
            view = f"{view}@v{version}"
        names.append(f"{view}__{feature}" if full_feature_names else feature)
    return names


def requested_outputs(context: RequestContext, view: Any) -> list[str]:
    """The features of an on-demand view that are asked for."""
    names = {view.name, view.projection.name_to_use()}
    parsed = map(_parse_ref, context.feature_refs)
    return [feature for name, _, feature in parsed if name in names]


def _parse_ref(ref: str) -> tuple[str, int | None, str]:
    parse = getattr(utils, "_parse_feature_ref", None)
    if parse is None:
        view, _, feature = ref.partition(":")
        return view, None, feature
    parsed: tuple[str, int | None, str] = parse(ref)
    return parsed


def response_of(message: Any, feature_types: dict[str, ValueType]) -> FeastOnlineResponse:
    """Feast's own response of a message."""
    response = FeastOnlineResponse(message)
    # Earlier releases take no types, and look at none.
    response._feature_types = feature_types
    return response


def transform_on_demand(
    response: Any,
    feature_refs: list[str],
    views: list[Any],
    full_feature_names: bool,
    feature_types: dict[str, ValueType],
) -> None:
    """Appends the outputs of on-demand views to a response message, or to what stands for one."""
    arguments: dict[str, Any] = {}
    if "feature_types" in utils._augment_response_with_on_demand_transforms.__code__.co_varnames:
        arguments["feature_types"] = feature_types
    utils._augment_response_with_on_demand_transforms(
        response,
        feature_refs,
        views,
        full_feature_names,
        **arguments,
    )


def keep_columns(response: Any, names: list[str]) -> None:
    """Drops the other columns of a response message."""
    utils._drop_unneeded_columns(response, set(names))


def track_read(start: float, context: RequestContext, answer: _core.Answer) -> None:
    """Reports a read that began at `start` (of `time.monotonic`) to Feast's metrics, where they
    are on."""
    metrics = sys.modules.get("feast.metrics")
    if metrics is None or not metrics._config.online_features:
        return
    metrics.track_online_store_read(time.monotonic() - start)
    track_statuses = getattr(metrics, "track_feature_statuses", None)
    if track_statuses is None:
        return
    statuses = answer.statuses()
    for view, features in context.views:
        prefixed = f"{view.projection.name_to_use()}__"
        present = total = 0
        for feature in features:
            column = statuses.get(feature)
            column = statuses.get(prefixed + feature) if column is None else column
            if column is not None:
                present += int((column == PRESENT).sum())
                total += len(column)
        track_statuses(view.name, present, total - present)


def register_as_stock_store(store: type) -> None:
    """Lets ``isinstance(store, feast's RedisOnlineStore)`` hold, which
    ``FeatureStore.precompute_feature_service`` asks; only where redis-py is there to import it.
    """
    try:
        from feast.infra.online_stores.redis import RedisOnlineStore
    except Exception as cause:  # no redis-py, or one that Feast cannot use
        logger.debug("stock Feast's Redis store cannot be imported: %s", cause)
        return
    RedisOnlineStore.register(store)


def join_key_map(view: Any) -> Mapping[str, str]:
    """The projection's join keys by their aliases' originals."""
    result: Mapping[str, str] = view.projection.join_key_map or {}
    return result


def all_feature_views(registry: Any, project: str) -> list[Any]:
    """All views of a project of whatever kind, without loading their code where that is left to
    the caller."""
    listing = getattr(registry, "list_all_feature_views", None)
    if listing is not None:
        options = {"skip_udf": True} if "skip_udf" in signature(listing).parameters else {}
        return list(listing(project, **options))
    return [
        *registry.list_feature_views(project),
        *registry.list_stream_feature_views(project),
        *registry.list_on_demand_feature_views(project),
    ]


def stored_versions(view: Any, registry: Any, config: Any) -> list[tuple[str, list[str]]]:
    """The names under which a view's rows may be stored, each with its features."""
    names = {view.name: [feature.name for feature in view.features]}
    if keeps_versions_online(config):
        for record in registry.list_feature_view_versions(view.name, config.project):
            number = record["version_number"]
            if number > 0:
                version = registry.get_feature_view_by_version(view.name, config.project, number)
                names[f"{view.name}_v{number}"] = [feature.name for feature in version.features]
    return list(names.items())


def views_of_push_source(store: FeatureStore, name: str, allow_cache: bool) -> list[Any]:
    """The views that a push source feeds; raises as stock Feast does if there is none."""
    views = store._fvs_for_push_source_or_raise(name, allow_cache)
    return sorted(views, key=lambda view: str(view.name))


def precomputed_services(store: FeatureStore, views: list[str], allow_cache: bool) -> list[Any]:
    """The feature services that keep precomputed vectors of one of these views."""
    services = store.registry.list_feature_services(store.project, allow_cache=allow_cache)
    return [
        service
        for service in services
        if getattr(service, "precompute_online", False)
        and any(projection.name in views for projection in service.feature_view_projections)
    ]
