"""The assembly of a response: join keys and request data in front of what was read, on-demand
views behind it."""

from __future__ import annotations

from typing import Any

from feast_rs import _core, feast_compat
from feast_rs.on_demand import add_on_demand
from feast_rs.request import BoundRequest
from feast_rs.response import OnlineResponse


def versions_wanted(wanted: bool) -> dict[str, bool]:
    """The argument that earlier releases of Feast do not have; only where it is wanted."""
    return {"include_feature_view_version_metadata": True} if wanted else {}


def of_vectors(
    stock: Any, registry: Any, project: str, service: Any, full_feature_names: bool
) -> OnlineResponse:
    """Feast's response of precomputed vectors as ours, with all that was declared."""
    context = feast_compat.request_context(registry, project, service, full_feature_names)
    return OnlineResponse.from_proto(
        stock.proto,
        stock._feature_types,
        feast_compat.declared_types(context.views),
        feast_compat.requested_columns(context, full_feature_names),
    )


def respond(
    request: BoundRequest, answer: _core.Answer, full_feature_names: bool, with_versions: bool
) -> OnlineResponse:
    plan = request.plan
    versions = plan.versions if with_versions else []
    answer.surround(request.front, [])
    if plan.context.on_demand_views:
        uneven = add_on_demand(plan, answer, full_feature_names, versions)
        if uneven is not None:
            return uneven
    if plan.kept is not None:
        answer.retain(plan.kept)
    return OnlineResponse(answer, plan.feature_types, versions, plan.requested)
