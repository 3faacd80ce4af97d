"""On-demand views: Feast's own transformation, given the values that Rust decoded.

Feast decodes a response message cell by cell before it runs a view, and makes a message of each
value that the view gives. Here it is given a :class:`_Message`, names of columns without values, so
that Feast still decides which of them a view sees and which of its outputs are wanted. A view, in
whose place an :class:`_OverAnswer` stands, has the values of the columns that Feast names, and of
its outputs only those that are not plain are left to Feast.
"""

from __future__ import annotations

from types import NoneType, SimpleNamespace
from typing import Any, NamedTuple

import pyarrow as pa
from feast.online_response import OnlineResponse as FeastOnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse

from feast_rs import _core, dtypes, feast_compat, plain_columns
from feast_rs.request import OutputType, Plan
from feast_rs.response import OnlineResponse, message_of, vector_column

_NO_VALUES = GetOnlineFeaturesResponse.FeatureVector()
_UNKNOWN = OutputType(None, None)
_UUIDS = frozenset({"Uuid", "TimeUuid"})


class _Output(NamedTuple):
    """What a view gives for one of its features."""

    name: str
    type: OutputType
    #: A ``FeatureVector`` message; a ``Column`` if its values are plain.
    values: Any

    def is_plain(self) -> bool:
        return isinstance(self.values, _core.Column)

    def column(self) -> _core.Column:
        if self.is_plain():
            column: _core.Column = self.values
            return column
        dtype = self.type.dtype
        if dtype in _UUIDS and dtypes.of_messages(self.values.values) == "STRING":
            dtype = "String"  # Texts that Feast did not make UUIDs stay texts.
        return vector_column(self.name, self.values, dtype)

    def vector(self) -> Any:
        """The ``FeatureVector`` message."""
        if not self.is_plain():
            return self.values
        answer = _core.Answer.of_columns(len(self.values), [self.values])
        return message_of(answer, []).results[0]


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
    if all(output.is_plain() or len(output.values.values) == answer.num_rows for output in outputs):
        answer.surround([], [output.column() for output in outputs])
        return None
    return _uneven(plan, answer, outputs, versions)


def _of_message(
    plan: Plan, message: GetOnlineFeaturesResponse, full_feature_names: bool
) -> list[_Output]:
    """The outputs by stock's way: Feast aggregates the values of the message itself."""
    before = len(message.results)
    _transform(plan, message, plan.context.on_demand_views, full_feature_names)
    names = message.metadata.feature_names.val[before:]
    types = {name: kind for outputs in plan.outputs for name, kind in outputs.items()}
    return [
        _Output(name, types.get(name, _UNKNOWN), vector)
        for name, vector in zip(names, message.results[before:], strict=True)
    ]


def _of_answer(plan: Plan, answer: _core.Answer, full_feature_names: bool) -> list[_Output]:
    """The outputs where the views' inputs are the answer's columns."""
    message = _Message(answer.names)
    inputs = _Inputs(OnlineResponse(answer, plan.feature_types), message.results)
    # What comes of default values is marked, which columns cannot be.
    rows = answer.num_rows if answer.unanswered is None else None
    views = [
        _OverAnswer(view, types, inputs, message.results, rows)
        for view, types in zip(plan.context.on_demand_views, plan.outputs, strict=True)
    ]
    _transform(plan, message, views, full_feature_names)
    return message.results.outputs


def _transform(plan: Plan, message: Any, views: list[Any], full_feature_names: bool) -> None:
    feast_compat.transform_on_demand(
        message, plan.context.feature_refs, views, full_feature_names, plan.feature_types
    )


class _Message:
    """What Feast's transformation takes for a response message."""

    def __init__(self, names: list[str]) -> None:
        self.metadata = SimpleNamespace(feature_names=SimpleNamespace(val=names))
        self.results = _Vectors(names)


class _Vectors(list[Any]):
    """A message's vectors, which have no values. The outputs that Feast appends are kept aside."""

    def __init__(self, names: list[str]) -> None:
        super().__init__([_NO_VALUES] * len(names))
        self._names = names
        self._types: dict[str, OutputType] = {}
        self._columns: dict[str, _core.Column] = {}
        self.outputs: list[_Output] = []

    def expect(self, types: dict[str, OutputType], columns: dict[str, _core.Column]) -> None:
        """The next outputs are of these types; `columns` are those of which Feast has one value."""
        self._types = types
        self._columns = columns

    def append(self, vector: Any) -> None:
        name = self._names[len(self)]  # Feast appends the names first.
        values = self._columns.get(name, vector)
        self.outputs.append(_Output(name, self._types.get(name, _UNKNOWN), values))
        super().append(_NO_VALUES)


class _Inputs(FeastOnlineResponse):
    """What Feast would have decoded: the columns of the answer and, as in stock, the outputs of the
    views that ran before."""

    def __init__(self, response: OnlineResponse, vectors: _Vectors) -> None:
        self._response = response
        self._vectors = vectors
        self._lists: dict[str, Any] | None = None
        self._filled: Any = None
        self._table: pa.Table | None = None

    def fill(self, named: dict[str, Any]) -> None:
        """Gives the columns that are named their values. Earlier releases hand each view the same
        dict, with what the view before it has put there."""
        if named is self._filled:
            return
        if self._lists is None:
            self._lists = self.to_dict()
        for name in named:
            named[name] = self._lists[name]
        self._filled = named

    def table(self, names: list[str]) -> pa.Table:
        if self._table is None:
            # Of the types that Feast infers, not of the declared ones: what views were written for.
            self._table = self.to_arrow()
        return self._table.select(names)

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        lists = self._response.to_dict()
        for output in self._vectors.outputs:
            message = GetOnlineFeaturesResponse(results=[output.vector()])
            message.metadata.feature_names.val.append(output.name)
            lists |= feast_compat.response_of(message, self._response._feature_types).to_dict()
        return lists


class _OverAnswer:
    """An on-demand view that has its inputs' names from Feast and their values from the answer.

    Of outputs of `rows` plain values Feast is given one value; of a table's only together.
    """

    def __init__(
        self,
        view: Any,
        types: dict[str, OutputType],
        inputs: _Inputs,
        vectors: _Vectors,
        rows: int | None,
    ) -> None:
        self._view = view
        self._types = types
        self._inputs = inputs
        self._vectors = vectors
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def transform_dict(self, named: dict[str, Any]) -> dict[str, Any]:
        self._inputs.fill(named)
        outputs: dict[str, Any] = self._view.transform_dict(named)
        columns = {}
        if self._rows is not None:
            for name in self._types.keys() & outputs.keys():
                column = self._plain(plain_columns.of_list, name, outputs[name])
                if column is not None:
                    columns[name] = column
        self._vectors.expect(self._types, columns)
        if not columns:
            return outputs
        return outputs | {name: _one_of(outputs[name]) for name in columns}

    def transform_arrow(self, named: pa.Table, full_feature_names: bool) -> pa.Table:
        inputs = self._inputs.table(named.column_names)
        outputs = self._view.transform_arrow(inputs, full_feature_names)
        columns: dict[str, _core.Column] = {}
        self._vectors.expect(self._types, columns)
        if self._rows is None:
            return outputs
        names = outputs.column_names
        wanted = [name for name in names if name in self._types]
        if len(set(wanted)) < len(wanted):
            return outputs
        for name in wanted:
            column = self._plain(plain_columns.of_arrow, name, outputs.column(name))
            if column is None:
                columns.clear()
                return outputs
            columns[name] = column
        return pa.table({name: outputs.column(name).drop_null().slice(0, 1) for name in wanted})

    def _plain(self, convert: Any, name: str, values: Any) -> _core.Column | None:
        value_type, dtype = self._types[name]
        column: _core.Column | None = None
        if dtype is not None and dtype not in _UUIDS:
            column = convert(name, values, value_type, dtype)
        return column if column is None or len(column) == self._rows else None


def _one_of(values: list[Any]) -> list[Any]:
    """The value from which Feast would infer the type of all."""
    telling = (value for value in values if value or not isinstance(value, (bytes, NoneType)))
    return [next(telling, None)]


def _mark_unread(plan: Plan, answer: _core.Answer, outputs: list[_Output]) -> None:
    """What was computed from default values is none that was stored."""
    for output in outputs:
        statuses = output.values.statuses
        unread = answer.unanswered_rows(plan.inputs.get(output.name, plan.groups))
        if len(unread) != len(statuses):
            # An aggregation has rows of its own.
            unread = [any(unread)] * len(statuses)
        statuses[:] = [
            feast_compat.INVALID if missing else status
            for missing, status in zip(unread, statuses, strict=True)
        ]


def _uneven(
    plan: Plan, answer: _core.Answer, outputs: list[_Output], versions: list[tuple[str, int]]
) -> OnlineResponse:
    """The response of columns of different lengths."""
    proto = message_of(answer, versions)
    for output in outputs:
        proto.metadata.feature_names.val.append(output.name)
        proto.results.append(output.vector())
    if plan.kept is not None:
        feast_compat.keep_columns(proto, plan.kept)
    error = answer.unanswered[1] if answer.unanswered else None
    return OnlineResponse.from_proto(
        proto, plan.feature_types, requested=plan.requested, error=error
    )
