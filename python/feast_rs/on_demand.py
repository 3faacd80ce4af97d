"""On-demand views: Feast's own transformation, given the values that Rust decoded.

Feast decodes a response message cell by cell before it runs a view, and makes a message of each
value that the view gives. Here what it takes for the message is :class:`_Names`, columns without
values, so that Feast still decides which of them a view sees and which of its outputs are wanted. A
view, in whose place an :class:`_OverAnswer` stands, is given the values of the columns that Feast
names, and of its outputs only those that are not plain are left to Feast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias

import pyarrow as pa
from feast.online_response import OnlineResponse as FeastOnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse

from feast_rs import _core, dtypes, feast_compat, plain_columns
from feast_rs.request import Plan
from feast_rs.response import OnlineResponse, message_of, vector_column

#: What a view gives for one of its features: a ``FeatureVector`` message, or a plain column.
_Output: TypeAlias = Any


def add_on_demand(
    plan: Plan, answer: _core.Answer, full_feature_names: bool, versions: list[tuple[str, int]]
) -> OnlineResponse | None:
    """Puts the outputs of the request's on-demand views behind the answer's columns.

    Gives the response where what they computed is no column of the answer, for it has more or fewer
    values than there are rows.
    """
    if any(view.aggregations for view in plan.context.on_demand_views):
        outputs = _of_message(plan, message_of(answer, versions), full_feature_names)
    else:
        outputs = _of_answer(plan, answer, full_feature_names)
    if answer.unanswered is not None:
        _mark_unread(plan, answer, outputs)
    rows = answer.num_rows
    if any(_is_vector(output) and len(output.values) != rows for _, output in outputs):
        return _uneven(plan, answer, outputs, versions)
    declared = _declared_types(plan, full_feature_names)
    answer.surround(
        [],
        [
            vector_column(name, output, declared.get(name)) if _is_vector(output) else output
            for name, output in outputs
        ],
    )
    return None


def _of_message(
    plan: Plan, message: GetOnlineFeaturesResponse, full_feature_names: bool
) -> list[tuple[str, _Output]]:
    """The outputs by stock's way: Feast aggregates the values of the message itself."""
    before = len(message.results)
    feast_compat.transform_on_demand(
        message,
        plan.context.feature_refs,
        plan.context.on_demand_views,
        full_feature_names,
        plan.feature_types,
    )
    names = message.metadata.feature_names.val
    return list(zip(names[before:], message.results[before:], strict=True))


def _of_answer(
    plan: Plan, answer: _core.Answer, full_feature_names: bool
) -> list[tuple[str, _Output]]:
    """The outputs where the views' inputs are the answer's columns."""
    message = _Names(answer.names)
    inputs = _Inputs(OnlineResponse(answer, plan.feature_types), message)
    views = [_OverAnswer(view, inputs, message) for view in plan.context.on_demand_views]
    if answer.unanswered is None:
        declared = _declared_types(plan, full_feature_names)
        for view in views:
            view.take_plain_columns(answer.num_rows, declared, plan.requested)
    feast_compat.transform_on_demand(
        message, plan.context.feature_refs, views, full_feature_names, plan.feature_types
    )
    return message.outputs


class _Names(list[Any]):
    """To Feast's transformation a response message, and its vectors, which have no values. The
    outputs that it appends are kept aside."""

    def __init__(self, names: list[str]) -> None:
        super().__init__([_NO_VALUES] * len(names))
        self._names = names
        self.metadata = SimpleNamespace(feature_names=SimpleNamespace(val=names))
        self.results = self
        self.outputs: list[tuple[str, _Output]] = []
        #: By name the outputs of the view that has just run that Feast was not given.
        self.columns: dict[str, _core.Column] = {}

    def append(self, vector: Any) -> None:
        name = self._names[len(self)]  # Feast appends the names first.
        self.outputs.append((name, self.columns.get(name, vector)))
        super().append(_NO_VALUES)


_NO_VALUES = GetOnlineFeaturesResponse.FeatureVector()


class _Inputs(FeastOnlineResponse):
    """What Feast would have decoded: the columns of the answer and, as in stock, the outputs of the
    views that ran before."""

    def __init__(self, response: OnlineResponse, message: _Names) -> None:
        self._response = response
        self._message = message
        self._lists: dict[str, Any] | None = None
        self._table: pa.Table | None = None

    def lists(self, names: Iterable[str]) -> dict[str, Any]:
        if self._lists is None:
            self._lists = self.to_dict()
        return {name: self._lists[name] for name in names}

    def table(self, names: list[str]) -> pa.Table:
        if self._table is None:
            # Of the types that Feast infers, not of the declared ones: what views were written for.
            self._table = self.to_arrow()
        return self._table.select(names)

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        lists = self._response.to_dict()
        for name, output in self._message.outputs:
            message = GetOnlineFeaturesResponse(results=[_vector(output)])
            message.metadata.feature_names.val.append(name)
            lists |= FeastOnlineResponse(message, self._response._feature_types).to_dict()
        return lists


class _OverAnswer:
    """An on-demand view that has its inputs' names from Feast and their values from the answer."""

    def __init__(self, view: Any, inputs: _Inputs, message: _Names) -> None:
        self._view = view
        self._inputs = inputs
        self._message = message
        self._rows: int | None = None
        self._types: dict[str, str | None] = {}
        self._declared: dict[str, Any] = {}
        self._wanted: set[str] = set()

    def take_plain_columns(
        self, rows: int, declared: dict[str, Any], requested: Iterable[str]
    ) -> None:
        """From now on keeps outputs of `rows` plain values from Feast's conversion."""
        self._rows = rows
        self._declared = declared
        self._wanted = {*declared, *requested}
        self._types = {
            field.name: field.dtype.to_value_type().name
            for field in self._view.schema
            if hasattr(field.dtype, "to_value_type")
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def transform_dict(self, named: Mapping[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = self._view.transform_dict(self._inputs.lists(named))
        columns = {}
        for name, values in outputs.items():
            # The inputs are among them, too.
            if name in self._declared and isinstance(values, list) and len(values) == self._rows:
                column = plain_columns.of_list(name, values, *self._types_of(name))
                if column is not None:
                    columns[name] = column
        self._message.columns = columns
        return {name: [] if name in columns else values for name, values in outputs.items()}

    def transform_arrow(self, named: pa.Table, full_feature_names: bool) -> pa.Table:
        inputs = self._inputs.table(named.column_names)
        outputs = self._view.transform_arrow(inputs, full_feature_names)
        self._message.columns = {}
        if outputs.num_rows != self._rows:
            return outputs
        columns = {}
        for name in outputs.column_names:
            if name in self._wanted:
                values = outputs.column(name)
                column = plain_columns.of_arrow(name, values, *self._types_of(name))
                if column is None:
                    return outputs  # A table's columns are of one length.
                columns[name] = column
        self._message.columns = columns
        return outputs.slice(0, 0)

    def _types_of(self, name: str) -> tuple[str | None, str | None]:
        """The value type that Feast converts an output to, and the type declared for it."""
        declared = self._declared.get(name)
        return self._types.get(name), None if declared is None else dtypes.spell(declared)


def _is_vector(output: _Output) -> bool:
    return not isinstance(output, _core.Column)


def _vector(output: _Output) -> Any:
    """The output as a ``FeatureVector`` message."""
    if _is_vector(output):
        return output
    return message_of(_core.Answer.of_columns(len(output), [output]), []).results[0]


def _mark_unread(plan: Plan, answer: _core.Answer, outputs: list[tuple[str, _Output]]) -> None:
    """What was computed from default values is none that was stored."""
    for name, vector in outputs:
        unread = answer.unanswered_rows(plan.inputs.get(name, plan.groups))
        if len(unread) != len(vector.statuses):
            # An aggregation has rows of its own.
            unread = [any(unread)] * len(vector.statuses)
        vector.statuses[:] = [
            feast_compat.INVALID if missing else status
            for missing, status in zip(unread, vector.statuses, strict=True)
        ]


def _declared_types(plan: Plan, full_feature_names: bool) -> dict[str, Any]:
    """The types of the on-demand views' features by the names of their columns."""
    declared: dict[str, Any] = {}
    for view in plan.context.on_demand_views:
        prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
        declared |= {f"{prefix}{field.name}": field.dtype for field in view.features}
    return declared


def _uneven(
    plan: Plan,
    answer: _core.Answer,
    outputs: list[tuple[str, _Output]],
    versions: list[tuple[str, int]],
) -> OnlineResponse:
    """The response of columns of different lengths."""
    proto = message_of(answer, versions)
    for name, output in outputs:
        proto.metadata.feature_names.val.append(name)
        proto.results.append(_vector(output))
    if plan.kept is not None:
        feast_compat.keep_columns(proto, plan.kept)
    error = answer.unanswered[1] if answer.unanswered else None
    return OnlineResponse.from_proto(
        proto, plan.feature_types, requested=plan.requested, error=error
    )
