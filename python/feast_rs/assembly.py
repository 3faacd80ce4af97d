"""The assembly of a response: join keys and request data in front of what was read, on-demand
views behind it."""

from __future__ import annotations

from typing import Any

from feast_rs import _core, feast_compat
from feast_rs.request import BoundRequest, Plan
from feast_rs.response import OnlineResponse, is_even, message_of, vector_column


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
        uneven = _add_on_demand(plan, answer, full_feature_names, versions)
        if uneven is not None:
            return uneven
    if plan.kept is not None:
        answer.retain(plan.kept)
    return OnlineResponse(answer, plan.feature_types, versions, plan.requested)


def _add_on_demand(
    plan: Plan, answer: _core.Answer, full_feature_names: bool, versions: list[tuple[str, int]]
) -> OnlineResponse | None:
    """Runs the on-demand views, through Feast's own transformation, on the response message.

    Gives the response where what they computed is no column of the answer, for it has more or fewer
    values than there are rows.
    """
    proto = message_of(answer, versions)
    before = len(proto.results)
    degraded = answer.unanswered is not None
    feast_compat.transform_on_demand(proto, plan.context, full_feature_names)
    declared: dict[str, Any] = {}
    for view in plan.context.on_demand_views:
        prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
        declared |= {f"{prefix}{field.name}": field.dtype for field in view.features}
    names = proto.metadata.feature_names.val
    even = is_even(proto)
    after = []
    for name, vector in zip(names[before:], proto.results[before:], strict=True):
        if degraded:
            # What was computed from default values is none that was stored.
            unread = answer.unanswered_rows(plan.inputs.get(name, plan.groups))
            if len(unread) != len(vector.statuses):
                # An aggregation has rows of its own.
                unread = [any(unread)] * len(vector.statuses)
            vector.statuses[:] = [
                feast_compat.INVALID if missing else status
                for missing, status in zip(unread, vector.statuses, strict=True)
            ]
        if even:
            after.append(vector_column(name, vector, declared.get(name)))
    if even:
        answer.surround([], after)
        return None
    if plan.kept is not None:
        feast_compat.keep_columns(proto, plan.kept)
    error = answer.unanswered[1] if answer.unanswered else None
    return OnlineResponse.from_proto(
        proto, plan.feature_types, requested=plan.requested, error=error
    )
