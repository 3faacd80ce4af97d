"""What the registry says that a project stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from feast_rs import _core, dtypes, feast_compat

JoinKeys = tuple[str, ...]

PRECOMPUTED = "__precomputed__"
"""Begins the views under which vectors of feature services are kept."""

_DUMMY_TYPE = "STRING"


@dataclass(frozen=True)
class StoredView:
    """A view under one of the names that its rows may be stored under."""

    name: str
    join_keys: JoinKeys
    features: dict[str, str]
    """The declared types, as :mod:`feast_rs.dtypes` spells them."""
    ttl: timedelta | None
    """None for a view whose rows do not grow too old."""
    is_current: bool
    """Whether it is what is written now, not an older version."""
    is_materialized: bool
    """Whether the registry has a time range that was materialized."""


@dataclass
class Definitions:
    """A project's definitions; none where there is no registry."""

    views: dict[str, StoredView] = field(default_factory=dict)
    key_types: dict[JoinKeys, dict[str, set[str]]] = field(default_factory=dict)
    """By join keys: the declared ``ValueType`` names of each."""
    other_projects: set[str] = field(default_factory=set)
    are_known: bool = False
    """Whether a registry was read."""

    def features_by_field(self) -> dict[bytes, tuple[str, str, str]]:
        """The view, feature and declared type of each hash field that is a feature's."""
        found = {}
        for view in self.views.values():
            features = list(view.features)
            *fields, _ = _core.view_fields(view.name, features)
            for feature, place in zip(features, fields, strict=True):
                found[place] = (view.name, feature, view.features[feature])
        return found


def read_definitions(registry: Any, config: Any, project: str) -> Definitions:
    """Reads the registry."""
    definitions = Definitions(are_known=True)
    types = {
        entity.join_key: _name(entity.value_type) for entity in registry.list_entities(project)
    }
    for view in feast_compat.all_feature_views(registry, project):
        join_keys = tuple(sorted(view.join_keys)) or (feast_compat.DUMMY_JOIN_KEY,)
        declared = definitions.key_types.setdefault(join_keys, {key: set() for key in join_keys})
        for key, value_type in _key_types(view, types):
            declared.get(key, set()).add(value_type)
        for stored in _stored_views(view, registry, config, join_keys):
            definitions.views[stored.name] = stored
    for service in registry.list_feature_services(project):
        if getattr(service, "precompute_online", False):
            _add_precomputed(definitions, service)
    definitions.other_projects = _projects(registry) - {project}
    return definitions


def _key_types(view: Any, entity_types: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The join keys' types as reads and writes of this view take them."""
    declared = getattr(view, "entity_columns", None) or []
    columns = {column.name: _name(column.dtype.to_value_type()) for column in declared}
    for key in view.join_keys:
        value_type = columns.get(key) or entity_types.get(key)
        if value_type and value_type != "UNKNOWN":
            yield key, value_type
    if not view.join_keys:
        yield feast_compat.DUMMY_JOIN_KEY, _DUMMY_TYPE


def _name(value_type: Any) -> str:
    return str(getattr(value_type, "name", value_type))


def _stored_views(
    view: Any, registry: Any, config: Any, join_keys: JoinKeys
) -> Iterator[StoredView]:
    if feast_compat.is_on_demand(view) and not getattr(view, "write_to_online_store", False):
        return
    declared = {feature.name: dtypes.spell(feature.dtype) for feature in view.features}
    current = feast_compat.stored_view_name(view, config)
    ttl = getattr(view, "ttl", None)
    for name, features in feast_compat.stored_versions(view, registry, config):
        is_current = name == current
        yield StoredView(
            name=name,
            join_keys=join_keys,
            # Of older versions the names are known, and they may have had other types.
            features=declared if is_current else dict.fromkeys(features, ""),
            ttl=ttl if is_current and ttl else None,
            is_current=is_current,
            is_materialized=is_current and bool(getattr(view, "materialization_intervals", None)),
        )


def _add_precomputed(definitions: Definitions, service: Any) -> None:
    names = {projection.name for projection in service.feature_view_projections}
    views = [view for view in definitions.views.values() if view.name in names]
    join_keys = tuple(sorted({key for view in views for key in view.join_keys}))
    if not join_keys:
        return
    name = f"{PRECOMPUTED}{service.name}"
    definitions.views[name] = StoredView(name, join_keys, {"vector": "Bytes"}, None, True, False)
    types = definitions.key_types
    declared = types.setdefault(join_keys, {key: set() for key in join_keys})
    for view in views:
        for key in view.join_keys:
            declared[key] |= types[view.join_keys][key]


def _projects(registry: Any) -> set[str]:
    """The names of all projects in the registry; some releases and registries do not tell."""
    try:
        return {project.name for project in registry.list_projects(allow_cache=True)}
    except Exception:
        return set()
