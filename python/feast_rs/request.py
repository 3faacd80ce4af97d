"""What a call of ``get_online_features`` means: compiled once per feature list and registry
state, then bound to the rows of each call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from feast import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.value_type import ValueType

from feast_rs import _core, dtypes, fallback, feast_compat, plain_columns
from feast_rs.entity_keys import key_column, proto_values
from feast_rs.errors import (
    ArgumentError,
    FeatureListError,
    MissingJoinKeyError,
    NoEntityRowsError,
)

if TYPE_CHECKING:
    from feast import RepoConfig

logger = logging.getLogger(__name__)

# Plans that are kept. A service asks for a few feature lists; more than this are made up.
_PLANS = 1024


class OutputType(NamedTuple):
    """What an on-demand view's feature is."""

    value_type: str | None
    """The name of the ``ValueType`` that Feast makes of its values; None lets them decide."""
    dtype: str | None
    """The declared type, as ``feast_rs.dtypes`` spells it; None if there is none."""


@dataclass
class Plan:
    """A compiled feature list for requests with certain columns."""

    core: _core.Plan
    context: feast_compat.RequestContext
    feature_types: dict[str, ValueType]
    versions: list[tuple[str, int]]
    """View names and version numbers, for the response's metadata."""
    requested: list[str]
    """The features' columns in the order of the request."""
    keys: list[tuple[str, str, str | None]] = field(default_factory=list)
    """The join keys that are read with: the request's column, the join key, the declared type."""
    echoed: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Join keys that no requested view has, which the response repeats."""
    request_data: list[tuple[str, str | None]] = field(default_factory=list)
    """Columns that on-demand views take from the request, with their declared type."""
    unknown: list[str] = field(default_factory=list)
    """Columns that mean nothing here; Feast checks and drops them."""
    front: list[int] = field(default_factory=list)
    """The join keys in the request's order: a place among `keys`, or ``~place`` among `echoed`."""
    entityless: bool = False
    """Whether a constant key column follows `keys`."""
    kept: list[str] | None = None
    """The columns that the response has, if there are others that on-demand views need."""
    groups: list[int] = field(default_factory=list)
    """The entity keys that are read with, by their index in `core`."""
    inputs: dict[str, list[int]] = field(default_factory=dict)
    """Those of them that the inputs of an on-demand view's column are read with."""
    outputs: list[dict[str, OutputType]] = field(default_factory=list)
    """Of each on-demand view the columns that are asked for."""


class BoundRequest(NamedTuple):
    """A plan with the rows of one call."""

    plan: Plan
    rows: int
    keys: list[_core.KeyColumn]
    front: list[int | _core.Column]
    """What the response has in front of the features: places among `keys`, and columns."""


class Planner:
    """Compiles and keeps plans, one planner per store."""

    def __init__(self) -> None:
        self._plans: dict[Any, tuple[object, Plan]] = {}
        self._checked: set[str] = set()

    def plan(
        self,
        config: RepoConfig,
        registry: Any,
        project: str,
        features: list[str] | FeatureService,
        full_feature_names: bool,
        columns: tuple[str, ...],
    ) -> Plan:
        """The plan of a feature list for requests with these columns.

        A plan is reused as long as the registry's cache is the same and still valid.
        """
        if isinstance(features, tuple):
            # Stock takes one where the same list was asked for before, and no other.
            features = list(features)
        if not isinstance(features, (list, FeatureService)):
            raise FeatureListError(
                "features must be a list of 'view:feature' texts or a FeatureService, not "
                f"{type(features).__name__}"
            )
        listed = tuple(features) if isinstance(features, list) else features.name
        key = (
            listed,
            project,
            full_feature_names,
            columns,
            config.project,
            config.entity_key_serialization_version,
            feast_compat.keeps_versions_online(config),
            config.online_store.defaults_key,
        )
        state = feast_compat.registry_state(registry)
        if state is not None:
            known = self._plans.get(key)
            if known is not None and known[0] == state:
                return known[1]
        context = feast_compat.request_context(registry, project, features, full_feature_names)
        plan = compile_plan(config, context, full_feature_names, columns)
        if state is not None:
            self._check_defaults(config, registry, project)
        # Resolving may have refreshed the registry's cache, or another thread may have: then it
        # is not known which state the plan is of, and the next request compiles it again.
        if state is not None and state == feast_compat.registry_state(registry):
            # Each step is atomic, and a lock could be held by another thread during a fork.
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = (state, plan)
        return plan

    def _check_defaults(self, config: RepoConfig, registry: Any, project: str) -> None:
        """Tells, once, of default values that no feature has."""
        settings = config.online_store
        key = settings.defaults_key
        if key is None or not settings.default_values or key in self._checked:
            return
        self._checked.add(key)
        for name in fallback.unknown_names(settings.default_values, registry, project):
            logger.warning("online_store: default_values: there is no stored feature '%s'", name)


def compile_plan(
    config: RepoConfig,
    context: feast_compat.RequestContext,
    full_feature_names: bool,
    columns: tuple[str, ...],
) -> Plan:
    """Decides all that does not depend on the rows."""
    join_keys = _sort_columns(context, columns)
    groups = [
        (view, features, _key_columns(view, context, join_keys)) for view, features in context.views
    ]
    used = {column for _, _, pairs in groups for _, column in pairs}
    used_columns = [name for name in join_keys if name in used]
    places = {name: place for place, name in enumerate(used_columns)}
    if context.has_entityless_view:
        places[DUMMY_ENTITY_ID] = len(used_columns)
    core = _core.Plan(
        [*used_columns, DUMMY_ENTITY_ID] if context.has_entityless_view else used_columns
    )
    plan = Plan(
        core=core,
        context=context,
        feature_types=feast_compat.feature_types(context.views),
        versions=_versions(context),
        requested=feast_compat.requested_columns(context, full_feature_names),
        entityless=context.has_entityless_view,
    )
    for name, column in join_keys.items():
        # An entity's name in the request stands for its join key, whose type counts.
        declared = _declared(context, column) or _declared(context, name)
        if name in used:
            plan.front.append(len(plan.keys))
            plan.keys.append((column, name, declared))
        else:
            plan.front.append(~len(plan.echoed))
            plan.echoed.append((column, name, declared))
    # With on-demand views as many columns may be there as were asked for, and not be the same.
    count = sum(len(features) for _, features in context.views)
    if context.on_demand_views or len(context.result_names) != count:
        plan.kept = [*context.result_names, *join_keys]
    for column in columns:
        if column in context.request_data:
            plan.request_data.append((column, _declared(context, column)))
        elif column not in join_keys.values():
            plan.unknown.append(column)
    settings = config.online_store
    groups_of: dict[str, list[int]] = {}
    for view, features, pairs in groups:
        group = core.add_group(
            [name for name, _ in pairs],
            [places[column] for _, column in pairs],
            config.entity_key_serialization_version,
            config.project,
        )
        groups_of.setdefault(view.name, []).append(group)
        view_name = view.projection.name_to_use()
        stored_name = feast_compat.stored_view_name(view, config)
        fields = {field.name: field for field in view.features}
        ttl = getattr(view, "ttl", None)
        for feature in features:
            core.add_column(
                group,
                f"{view_name}__{feature}" if full_feature_names else feature,
                stored_name,
                feature,
                dtypes.spell(fields[feature].dtype if feature in fields else None),
                ttl.total_seconds() if ttl else None,
                fallback.default_value(settings, view.name, fields[feature])
                if settings.on_error == "defaults" and feature in fields
                else None,
            )
    plan.groups = sorted({group for listed in groups_of.values() for group in listed})
    for view in context.on_demand_views:
        prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
        sources = feast_compat.source_views(view)
        inputs = {group for name in sources for group in groups_of.get(name, plan.groups)}
        for output in view.features:
            plan.inputs[f"{prefix}{output.name}"] = sorted(inputs)
        plan.outputs.append(_outputs(view, prefix, feast_compat.requested_outputs(context, view)))
    return plan


def _outputs(view: Any, prefix: str, names: list[str]) -> dict[str, OutputType]:
    # Feast looks for a value type by the column's name, which with a prefix it does not find.
    value_types = {
        field.name: field.dtype.to_value_type().name
        for field in view.schema
        if hasattr(field.dtype, "to_value_type")
    }
    declared = {field.name: dtypes.spell(field.dtype) for field in view.features}
    return {
        f"{prefix}{name}": OutputType(value_types.get(f"{prefix}{name}"), declared.get(name))
        for name in names
    }


def _declared(context: feast_compat.RequestContext, column: str) -> str | None:
    """The name of the value type that a view declares for its join key `column`."""
    declared = context.type_by_join_key.get(column)
    return declared.name if declared is not None else None


def _sort_columns(context: feast_compat.RequestContext, columns: tuple[str, ...]) -> dict[str, str]:
    """The request's join keys, each with the column that holds its values."""
    join_keys: dict[str, str] = {}
    for column in columns:
        if column in context.request_data:
            continue
        if column in context.join_keys:
            join_keys[column] = column
        elif column in context.join_key_by_entity:
            warnings.warn("Using entity name is deprecated. Use join_key instead.", stacklevel=2)
            join_keys[context.join_key_by_entity[column]] = column
    return join_keys


def _key_columns(
    view: Any, context: feast_compat.RequestContext, join_keys: dict[str, str]
) -> list[tuple[str, str]]:
    """For each of the view's join keys the name under which the request has it.

    Stock Feast takes whichever of the two comes last when a request has both a join key and the
    alias that the view's projection gives it; the alias is what the projection asks for.
    """
    aliases = feast_compat.join_key_map(view)
    pairs = []
    missing = []
    for entity in view.entities or []:
        join_key = context.join_key_by_entity[entity]
        if join_key == DUMMY_ENTITY_ID:
            pairs.append((join_key, DUMMY_ENTITY_ID))
            continue
        alias = aliases.get(join_key, join_key)
        if alias in join_keys:
            pairs.append((join_key, alias))
        elif join_key in join_keys:
            pairs.append((join_key, join_key))
        else:
            missing.append(alias)
    if missing:
        raise MissingJoinKeyError(
            f"Missing join key values for keys: {sorted(missing)}, which feature view "
            f"'{view.projection.name_to_use()}' needs. "
            f"Provided join_key_values: {list(join_keys)}"
        )
    return sorted(pairs)


def _versions(context: feast_compat.RequestContext) -> list[tuple[str, int]]:
    versions: dict[str, int] = {}
    for view, _ in context.views:
        name = view.projection.name_alias or view.projection.name
        versions.setdefault(name, getattr(view, "current_version_number", 0) or 0)
    return list(versions.items())


def bind(plan: Plan, columns: Mapping[str, Any]) -> BoundRequest:
    """Converts the rows of one call.

    Raises:
        EntityKeyError: A join key's value is null, or not of the declared type.
        ArgumentError: The columns have different lengths.
        NoEntityRowsError: There is no row.
    """
    keys = [key_column(name, columns[column], declared) for column, name, declared in plan.keys]
    lengths = {len(key) for key in keys}

    def converted(name: str, values: Any, declared: str | None = None) -> _core.Column | list[Any]:
        """The values as a column where they are plain, else as messages."""
        plain = plain_columns.of_list(name, values, declared)
        either = proto_values(values, declared) if plain is None else plain
        lengths.add(len(either))
        return either

    def repeated(name: str, values: Any, declared: str | None) -> _core.Column:
        either = converted(name, values, declared)
        return _column(name, either, declared) if isinstance(either, list) else either

    front: list[int | _core.Column] = list(plan.front)
    if plan.echoed:
        echoed = [
            repeated(name, columns[column], declared) for column, name, declared in plan.echoed
        ]
        front = [place if place >= 0 else echoed[~place] for place in plan.front]
    missing = plan.context.request_data.difference(columns)
    if missing:
        from feast.errors import RequestDataNotFoundInEntityRowsException

        raise RequestDataNotFoundInEntityRowsException(  # type: ignore[no-untyped-call]
            feature_names=sorted(missing)
        )
    for column, declared in plan.request_data:
        front.append(repeated(column, columns[column], declared))
    for column in plan.unknown:
        converted(column, columns[column])
    if len(lengths) > 1:
        raise ArgumentError(
            "All entity rows must have the same columns: there are columns of "
            f"{', '.join(map(str, sorted(lengths)))} values."
        )
    rows = lengths.pop() if lengths else 0
    if rows == 0:
        raise NoEntityRowsError(
            "The entity rows are empty. "
            f"No values provided for keys: {[name for _, name, _ in plan.keys]}. "
            f"Provided join_key_values: {list(columns)}"
        )
    if plan.entityless:
        keys.append(_core.KeyColumn.of([DUMMY_ENTITY_VAL] * rows, "STRING"))
    return BoundRequest(plan, rows, keys, front)


def _column(name: str, messages: list[Any], declared: str | None) -> _core.Column:
    """A column of ``Value`` messages that the response repeats."""
    dtype = declared or dtypes.of_messages(messages)
    return _core.Column(name, dtype, [message.SerializeToString() for message in messages])
