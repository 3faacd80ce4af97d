"""Generated requests, in all forms that stock Feast takes, are answered as it answers them."""

from __future__ import annotations

from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.server import RedisServer
from tests.support.setting import (
    ON_DEMAND,
    POOLS,
    REFS,
    REQUEST_DATA,
    SERVICE_KEYS,
    VIEW_KEYS,
    Setting,
    fill,
)

pytestmark = pytest.mark.filterwarnings("ignore:Using entity name is deprecated")


@pytest.fixture(scope="module")
def setting(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("world"), module_server)
    fill(setting.stock, setting.ours)
    return setting


@st.composite
def rows_with(draw: st.DrawFn, needed: list[str], extra: list[str]) -> dict[str, list[Any]]:
    """Columns with the needed names and some others, in any order."""
    others = st.lists(st.sampled_from(extra), max_size=2, unique=True)
    names = draw(st.permutations(list(dict.fromkeys([*needed, *draw(others)]))))
    if not names:
        names = ["driver_id"]
    count = draw(st.integers(1, 5))
    return {
        name: draw(st.lists(st.sampled_from(POOLS[name]), min_size=count, max_size=count))
        for name in names
    }


FORMS = ["rows", "columns", "tuples", "protos", "repeated"]
FIELDS = {
    "driver_id": "int64_val",
    "customer_id": "string_val",
    "account_id": "int32_val",
    "place_id": "int64_val",
    "origin_id": "int64_val",
    "destination_id": "int64_val",
}


def in_form(columns: dict[str, list[Any]], form: str) -> Any:
    """The columns as Feast accepts them."""
    if form == "rows":
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if form == "tuples":
        return {name: tuple(values) for name, values in columns.items()}
    if form in ("protos", "repeated"):
        # Stock takes messages for some types, and of declared join keys only.
        converted: dict[str, Any] = {}
        for name, values in columns.items():
            field = FIELDS.get(name)
            if field is None:
                converted[name] = values
                continue
            messages = [Value(**{field: value}) for value in values]
            converted[name] = RepeatedValue(val=messages) if form == "repeated" else messages
        return converted
    return columns


FEW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(data=st.data())
def test_any_list_of_features(setting: Setting, data: st.DataObject) -> None:
    full = data.draw(st.booleans(), label="full_feature_names")
    refs = data.draw(
        st.lists(
            st.sampled_from(REFS),
            min_size=1,
            max_size=8,
            unique_by=(lambda ref: ref) if full else (lambda ref: ref.partition(":")[2]),
        ),
        label="features",
    )
    asked = {ref.partition(":")[0] for ref in refs}
    needed = [key for view in VIEW_KEYS if view in asked for key in VIEW_KEYS[view]]
    extra = ["driver_id", "customer_id", "account_id"]
    if not asked & set(ON_DEMAND):
        extra += ["unknown", *REQUEST_DATA]
    columns = data.draw(rows_with(needed, extra), label="columns")
    form = data.draw(st.sampled_from(FORMS), label="form")
    if form in ("protos", "repeated"):
        # Stock judges messages by the declared type, which only requested views' keys have.
        columns = {name: values for name, values in columns.items() if name in needed}
        columns = columns or {"unknown": ["x"]}
    with_versions = data.draw(st.booleans(), label="versions")
    setting.ask(
        refs,
        in_form(columns, form),
        full_feature_names=full,
        include_feature_view_version_metadata=with_versions,
    )


@FEW
@given(data=st.data())
def test_any_feature_service(setting: Setting, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(SERVICE_KEYS)), label="service")
    # The alias of one view is no key of the registry's, so nothing else fits into this one.
    extra = ["driver_id"] if name == "trip" else ["driver_id", "account_id"]
    columns = data.draw(rows_with(SERVICE_KEYS[name], extra), label="columns")
    form = data.draw(st.sampled_from(["rows", "columns", "tuples"]), label="form")
    # Both views of one name in "trip" collide without their full names, which is an error.
    full = name == "trip" or data.draw(st.booleans(), label="full_feature_names")
    if name == "everything" and not full:
        return  # and so do the sources of its on-demand views
    service = setting.stock.get_feature_service(name)
    setting.ask(service, in_form(columns, form), full_feature_names=full)
