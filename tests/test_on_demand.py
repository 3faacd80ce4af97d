"""On-demand views: what they are given, and what their outputs become."""

from __future__ import annotations

import gc
import math
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D
from typing import Any

import feast.utils
import numpy as np
import pandas as pd
import pytest
from feast import Field
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    String,
    UnixTimestamp,
    Uuid,
)

from tests.support.outputs import GIVEN
from tests.support.server import RedisServer
from tests.support.setting import Setting, fill

ROWS = {"driver_id": [1, 2, 4]}
NAN = math.nan
NOON = datetime(2024, 5, 17, 12, tzinfo=timezone.utc)

# By declared type: values that Feast infers it from, and the cases.
CASES: dict[Any, tuple[list[Any], list[list[Any]]]] = {
    Float64: (
        [0.5],
        [
            [1.5, None, NAN],
            [None, None, None],
            [NAN, NAN, NAN],
            [0.0, -0.0, math.inf],
            [0, 1.5, 2],
            [3, 2, 1],
            [2**53 + 1, 0.5, 1.0],
            [10**400, 0.5, 1.0],
            [True, False, True],
            [0.5, True, "x"],
            [np.float64(0.5), np.float64("nan"), None],
            [np.float32(0.1), 0.5, 1.0],
            [D("1.5"), D("2"), None],
            [[0.5], 1.5, None],
            ["x", "y", "z"],
        ],
    ),
    Float32: (
        [np.float32(0.5)],
        [[0.1, None, NAN], [1e300, -1e300, 1e-60], [16777217, 1, 0.5], [True, 0.5, 1.0]],
    ),
    Int64: (
        [1],
        [
            [1, None, 3],
            [0, 2**63 - 1, -(2**63)],
            [2**63, 0, 1],
            [1.5, 2.0, 3.0],
            [1, 2.7, 3],
            [True, 2, 3],
            [np.int64(1), np.int32(2), None],
            ["5", "6", "7"],
            [1, "x", 2],
        ],
    ),
    Int32: ([np.int32(1)], [[0, -1, None], [2**31 - 1, -(2**31), 1], [2**31, 0, 0]]),
    String: (
        ["a"],
        [
            ["a", "", None],
            ["", "", ""],
            ["ü", "日本", "\x00"],
            ["\ud800", "a", "b"],
            [1, 2.5, "c"],
            [NAN, "a", "b"],
            [None, None, None],
        ],
    ),
    Bool: ([True], [[True, False, None], [False] * 3, [1, 0, 1], [np.bool_(True), False, None]]),
    Bytes: (
        [b"a"],
        [
            [b"", b"a", None],
            [b"", b"", b""],
            [b"", b"", None],
            [b"\xff\x00", b"b", b"c"],
            [bytearray(b"a"), b"b", b"c"],
        ],
    ),
    UnixTimestamp: ([NOON], [[NOON, None, NOON + timedelta(microseconds=1)]]),
    Uuid: (
        [uuid.UUID(int=5)],
        [
            [uuid.UUID(int=1), None, str(uuid.UUID(int=2))],
            [str(uuid.UUID(int=place)) for place in range(3)],
        ],
    ),
    Decimal: ([D("1.5")], [[D("0.10"), None, D("-3")]]),
    Array(String): ([["a"]], [[["a", "b"], [], None]]),
}


def named(dtype: Any, mode: str) -> str:
    return f"{mode}_{dtype}".lower().replace("(", "_").replace(")", "")


def output_view(dtype: Any, mode: str, stats: Any) -> OnDemandFeatureView:
    """A view that gives what a test says."""

    # Feast keeps the text of these alone.
    def give_lists(inputs: dict[str, Any]) -> dict[str, Any]:
        from tests.support.outputs import GIVEN

        return {name: values for name, values in GIVEN.items() if name.startswith("python_")}

    def give_frame(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        from tests.support.outputs import GIVEN

        given = {name: values for name, values in GIVEN.items() if name.startswith("pandas_")}
        return pd.DataFrame(given)

    return view_of(give_lists if mode == "python" else give_frame, named(dtype, mode), dtype, stats)


def shown_view(mode: str, stats: Any) -> OnDemandFeatureView:
    """A view whose output tells what it was given."""

    def show_lists(inputs: dict[str, Any]) -> dict[str, Any]:
        # Stock's store adds a column of nulls by this name.
        lists = sorted(pair for pair in inputs.items() if "_ts:" not in pair[0])
        return {"shown_python": [repr(lists)] * len(inputs["rate"])}

    def show_frame(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        columns = [name for name in inputs.columns if "_ts:" not in name]
        kinds = sorted((column, str(inputs[column].dtype)) for column in columns)
        values = {column: inputs[column].tolist() for column, _ in kinds}
        return pd.DataFrame({"shown_pandas": [f"{kinds} {values}"] * len(inputs)})

    return view_of(show_lists if mode == "python" else show_frame, f"shown_{mode}", String, stats)


def view_of(function: Any, name: str, dtype: Any, stats: Any) -> OnDemandFeatureView:
    mode = "pandas" if "frame" in function.__name__ else "python"
    schema = [Field(name=name, dtype=dtype)]
    decorate = on_demand_feature_view(
        name=f"{name}_view", sources=[stats], schema=schema, mode=mode
    )
    view: OnDemandFeatureView = decorate(function)
    return view


@pytest.fixture(scope="module")
def setting(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("on_demand"), module_server)
    fill(setting.stock, setting.ours)
    stats = setting.stock.get_feature_view("driver_stats")
    views = [shown_view("python", stats), shown_view("pandas", stats)]
    for dtype, (inferred, _) in CASES.items():
        for mode in ("python", "pandas"):
            GIVEN[named(dtype, mode)] = inferred
            views.append(output_view(dtype, mode, stats))
    setting.apply(*views)
    GIVEN.clear()
    return setting


@pytest.fixture(autouse=True)
def _as_given() -> Iterator[None]:
    yield
    GIVEN.clear()


def ask_both(setting: Setting, features: Any, rows: Any, **options: Any) -> None:
    """Wants stock's answer, or an error of the same type and words."""
    error = None
    try:
        setting.stock.get_online_features(features, rows, **options)
    except Exception as raised:
        error = raised
    if error is None:
        setting.ask(features, rows, **options)
        return
    assert not isinstance(error, NameError)
    with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
        setting.ours.get_online_features(features, rows, **options)


@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize("mode", ["python", "pandas"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [(dtype, values) for dtype, (_, cases) in CASES.items() for values in cases],
    ids=str,
)
def test_outputs_are_stocks(
    setting: Setting, dtype: Any, values: list[Any], mode: str, full_names: bool
) -> None:
    """In value, type and bytes, or in error."""
    name = named(dtype, mode)
    GIVEN[name] = values
    features = ["driver_stats:city", f"{name}_view:{name}"]
    ask_both(setting, features, ROWS, full_feature_names=full_names)


@pytest.mark.parametrize(
    "order",
    [
        ["python", "pandas"],
        ["pandas", "python"],
        ["python", "python_float64", "pandas"],
        ["pandas_float64", "python", "pandas"],
        ["python_array_string", "pandas_string", "pandas", "python"],
        ["pandas_unixtimestamp", "python_float32", "python", "pandas"],
    ],
    ids=str,
)
@pytest.mark.parametrize("full_names", [False, True])
def test_views_are_given_what_stock_gives_them(
    setting: Setting, order: list[str], full_names: bool
) -> None:
    """The stored features, and of the outputs of the views before those that stock shows."""
    names = [name if "_" in name else f"shown_{name}" for name in order]
    for name, values in {
        "python_float64": [0.5, NAN, None],
        "python_float32": [0.1, 2, None],
        "pandas_float64": [0.5, 1.5, NAN],
        "pandas_string": ["a", "", "c"],
        "pandas_unixtimestamp": [NOON, NOON, NOON],
        "python_array_string": [["a"], [], ["b", "c"]],
    }.items():
        GIVEN[name] = values
    features = ["driver_stats:rate", *(f"{name}_view:{name}" for name in names)]
    features += ["customer:age"]
    rows = ROWS | {"customer_id": ["ü", "", "nobody"]}
    answer = setting.ask(features, rows, full_feature_names=full_names).to_dict()
    if not full_names:
        assert {name for name in names if name not in answer} == set()
        assert "rate" in answer["shown_python" if "python" in order else "shown_pandas"][0]


def test_plain_outputs_are_not_converted_one_by_one(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[int] = []
    convert = feast.utils.python_values_to_proto_values

    def counted(values: Any, *arguments: Any) -> Any:
        converted.append(len(values))
        return convert(values, *arguments)

    monkeypatch.setattr(feast.utils, "python_values_to_proto_values", counted)
    plain = {Float64: [0.5, 1.5, None], String: ["a", "", None], Bool: [True, False, True]}
    kinds = [named(dtype, mode) for dtype in plain for mode in ("python", "pandas")]
    for dtype, values in plain.items():
        GIVEN[named(dtype, "python")] = GIVEN[named(dtype, "pandas")] = values
    features = [f"{name}_view:{name}" for name in kinds]
    answer = setting.ours.get_online_features(features, ROWS).to_dict()
    assert {name: answer[name] for name in kinds} == {name: GIVEN[name] for name in kinds}
    # One value tells Feast the type.
    assert converted == [1] * len(kinds)
    GIVEN["python_float64"] = [D("0.5")] * 3
    setting.ours.get_online_features(features, ROWS)
    assert sorted(converted)[-2:] == [1, 3]


@pytest.mark.parametrize(
    "values",
    [v for _, cases in CASES.values() for v in cases if not isinstance(v[0], list)],
    ids=str,
)
def test_request_data_comes_back_as_stocks(setting: Setting, values: list[Any]) -> None:
    """Whatever the type of its values, where no view reads it."""
    features = ["boosted:rate_plus"]
    ask_both(setting, features, ROWS | {"bonus": [1, 2, 3], "word": values})


def test_nothing_is_left_to_the_collector(setting: Setting) -> None:
    """Columns are memory that it does not count."""
    GIVEN["python_string"] = ["a", "b", "c"]
    features = ["python_string_view:python_string"]
    setting.ours.get_online_features(features, ROWS)
    gc.collect()
    gc.disable()
    try:
        setting.ours.get_online_features(features, ROWS)
        left = [type(item).__name__ for item in gc.get_objects()]
    finally:
        gc.enable()
    assert not {"_Vectors", "_Message", "_Inputs", "_OverAnswer"} & set(left)


def test_two_views_with_a_feature_of_one_name(setting: Setting) -> None:
    """Each column has its own view's type; a feature that nobody asks for decides none."""
    stats = setting.stock.get_feature_view("driver_stats")

    def one(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"x": [f"{rate}" for rate in inputs["rate"]]}

    def other(inputs: dict[str, Any]) -> dict[str, Any]:
        count = len(inputs["rate"])
        return {"x": list(range(count)), "y": [0.5] * count}

    views = [
        on_demand_feature_view(
            sources=[stats],
            schema=[Field(name=name, dtype=dtype) for name, dtype in schema.items()],
            mode="python",
        )(function)
        for function, schema in [(one, {"x": String}), (other, {"x": Int64, "y": Float64})]
    ]
    setting.apply(*views)
    answer = setting.ask(["one:x", "other:y"], ROWS)
    assert answer.to_arrow().column("x").to_pylist() == ["0.5", "None", "None"]
    setting.ask(["one:x", "other:x", "other:y"], ROWS, full_feature_names=True)


def test_a_frame_with_columns_that_nobody_asked_for(setting: Setting) -> None:
    """Of any type, and twice by one name."""
    stats = setting.stock.get_feature_view("driver_stats")

    def crowd(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {
                "half": inputs["rate"].fillna(0.0) / 2,
                "place": ["a"] * len(inputs),
                "crowd__place": ["b"] * len(inputs),
                "listed": [[1, 2]] * len(inputs),
                "rate": inputs["rate"],
            }
        )

    schema = [Field(name="half", dtype=Float64), Field(name="place", dtype=String)]
    view = on_demand_feature_view(sources=[stats], schema=schema, mode="pandas")(crowd)
    setting.apply(view)
    for full_names in (False, True):
        for features in (["crowd:half"], ["crowd:half", "driver_stats:rate"], ["crowd:place"]):
            ask_both(setting, features, ROWS, full_feature_names=full_names)


def test_a_view_may_change_what_it_is_given(setting: Setting) -> None:
    """Its inputs are not the lists of the answer."""
    stats = setting.stock.get_feature_view("driver_stats")

    def clear(inputs: dict[str, Any]) -> dict[str, Any]:
        trips = list(inputs["trips"])
        inputs["trips"][:] = [0] * len(trips)
        return {"cleared": [str(count) for count in trips]}

    schema = [Field(name="cleared", dtype=String)]
    view = on_demand_feature_view(sources=[stats], schema=schema, mode="python")(clear)
    setting.apply(view)
    features = ["driver_stats:trips", "clear:cleared", "shown_python_view:shown_python"]
    assert setting.ask(features, ROWS).to_dict()["trips"] == [7, None, None]
