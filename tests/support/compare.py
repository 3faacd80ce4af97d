"""Whether two answers are the same answer."""

from __future__ import annotations

import asyncio
import math
import warnings
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore


def same(expected: Any, actual: Any) -> bool:
    """Equal in value and in type, all the way down; NaN equals NaN."""
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, dict):
        return list(expected) == list(actual) and all(
            same(expected[name], actual[name]) for name in expected
        )
    if isinstance(expected, (list, tuple)):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if isinstance(expected, float) and math.isnan(expected):
        return math.isnan(actual)
    # A datetime in another zone is equal and yet another answer, which its repr tells.
    return bool(expected == actual) and (
        isinstance(expected, set) or repr(expected) == repr(actual)
    )


def assert_same(expected: Any, actual: Any) -> None:
    """Fails with both values where they differ."""
    assert same(expected, actual), f"\nexpected {expected!r}\nactual   {actual!r}"


def assert_same_answer(expected: Any, answer: Any) -> None:
    """Every form of stock's that does not infer types."""
    assert_same(expected.to_dict(), answer.to_dict())
    assert_same(expected.to_dict(True), answer.to_dict(include_event_timestamps=True))
    # A NaN differs from itself, and maps have no order.
    first = expected.proto.SerializeToString(deterministic=True)
    second = answer.proto.SerializeToString(deterministic=True)
    assert first == second, f"\nexpected {expected.proto}\nactual   {answer.proto}"
    pd.testing.assert_frame_equal(expected.to_df(True), answer.to_df(True))
    names = list(expected.proto.metadata.feature_names.val)
    statuses = answer.statuses
    for name, vector in zip(names, expected.proto.results, strict=True):
        if names.count(name) == 1:
            assert statuses[name].tolist() == list(vector.statuses)


def ask(
    stock: FeatureStore, ours: FeatureStore, features: Any, rows: Any, /, **options: Any
) -> Any:
    """Asks both stores, ours also asynchronously, and returns our answer, which is the same; or
    raises our error, which is of the same type."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = stock.get_online_features(features, rows, **options)
    except Exception as error:
        with pytest.raises(type(error)) as first:
            ours.get_online_features(features, rows, **options)
        with pytest.raises(type(error)) as second:
            asyncio.run(ours.get_online_features_async(features, rows, **options))
        assert str(first.value) == str(second.value)
        assert str(first.value)
        raise first.value from error
    answer = ours.get_online_features(features, rows, **options)
    assert_same_answer(expected, answer)
    awaited = asyncio.run(ours.get_online_features_async(features, rows, **options))
    assert_same(answer.to_dict(True), awaited.to_dict(True))
    return answer
