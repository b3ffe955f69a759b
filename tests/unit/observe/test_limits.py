"""Hostile or broken input is refused with a clear error and leaves no trace in what is read."""

import asyncio
import json
import math

import pytest

from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError, ObservationError
from autoscaler.observe import answers, promql
from autoscaler.observe.answers import Labels
from autoscaler.observe.catalogue import READINGS, Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.scrape import Limits, MemorySource
from tests.observing import exposition, target

SMALL = Limits(exposition_bytes=100_000, series_per_target=100, label_value_chars=64)
LABELS = {"model_name": "m", "engine": "0"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("#" * 100_001, "exposition of 100001 bytes, at most 100000", id="too long"),
        pytest.param(
            exposition(*(("vllm:num_requests_running", {**LABELS, "x": str(n)}, 1.0) for n in range(101))),
            "101 series, at most 100 are read",
            id="flood of series",
        ),
        pytest.param(
            exposition(("vllm:num_requests_running", {"model_name": "m" * 65}, 1.0)), "65 characters", id="huge label"
        ),
        pytest.param('vllm:num_requests_running{model_name="m 1\n', "not a metrics exposition", id="broken label"),
        pytest.param("vllm:num_requests_running one\n", "not a metrics exposition", id="no number"),
        pytest.param("vllm:num_requests_running\n", "not a metrics exposition", id="no value"),
    ],
)
def test_a_bad_page_is_refused_and_ends_the_targets_series(text: str, complaint: str) -> None:
    source = MemorySource(("llm",), Windows(), limits=SMALL)
    source.add(Instant(0.0), target("p0"), exposition(("vllm:num_requests_running", LABELS, 1.0)))
    with pytest.raises(ObservationError, match=complaint) as refused:
        source.add(Instant(15.0), target("p0"), text)
    assert "llm/p0" in str(refused.value)
    assert asyncio.run(source.read(Instant(16.0))).rows("engine_newest") == ()


def test_series_that_nobody_reads_cost_nothing() -> None:
    source = MemorySource(("llm",), Windows(), limits=SMALL)
    flood = exposition(*(("other_metric", {"x": str(n)}, 1.0) for n in range(1000)))
    source.add(Instant(0.0), target("p0"), flood + exposition(("vllm:num_requests_running", LABELS, 1.0)))
    assert len(asyncio.run(source.read(Instant(1.0))).rows("engine_newest")) == 1


def test_what_is_too_old_for_any_window_is_forgotten() -> None:
    source = MemorySource(("llm",), Windows())
    source.add(Instant(0.0), target("p0"), exposition(("vllm:num_requests_running", LABELS, 1.0)))
    source.forget(Instant(10_000.0))
    assert asyncio.run(source.read(Instant(1.0))).rows("engine_newest") == ()


def test_no_value_of_a_matcher_can_leave_its_quotes() -> None:
    (matcher,) = promql.scope((), {"cluster": 'a"} or vector(1) #\\\n'})
    assert matcher == 'cluster="a\\"} or vector(1) #\\\\\\n"'


@pytest.mark.parametrize("label", ["", "1st", "a-b", 'a="b"} or x{c'])
def test_a_matcher_needs_a_label_name(label: str) -> None:
    with pytest.raises(InputError, match="no label name"):
        promql.scope((), {label: "x"})


@pytest.mark.parametrize("namespace", ["", "a|b", 'x"}', "A"])
def test_a_namespace_is_a_name_not_a_pattern(namespace: str) -> None:
    with pytest.raises(InputError, match="no namespace name"):
        promql.scope((namespace,), {})


def test_every_selector_is_scoped() -> None:
    for reading in READINGS:
        query = promql.instant(reading, Windows(), promql.scope(("llm", "other"), {"cluster": "eu"}))
        assert query.count("{") == query.count('namespace=~"llm|other", cluster="eu"}'), query


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"url": "prometheus:9090"}, "no http"),
        ({"url": "http://user:secret@prometheus"}, "credentials"),
        ({"url": "http://p", "username": "u"}, "belong together"),
    ],
    ids=str,
)
def test_a_connection_that_cannot_be_right_is_refused(wrong: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as refused:
        Connection(url=wrong["url"], username=wrong.get("username", ""))
    assert "secret" not in str(refused.value)


def answer(*series: object, kind: str = "vector") -> answers.Answer:
    return answers.decoded(json.dumps({"data": {"resultType": kind, "result": series}}).encode())


def test_labels_as_long_as_a_book_make_one_reading_missing() -> None:
    found = answers.rows(Instant(1.0), answer({"metric": {"pod": "p" * 5000}, "value": [1.0, "1"]}), Labels())
    assert isinstance(found, Missing)
    assert "labels of 5000 characters" in found.detail


@pytest.mark.parametrize(
    "series",
    [
        {"metric": {"pod": 1}, "value": [1, "1"]},
        {"metric": "x", "value": [1, "1"]},
        {"metric": {}, "value": [1, "one"]},
    ],
    ids=str,
)
def test_labels_that_are_no_texts_and_values_that_are_no_numbers_are_no_observation(series: object) -> None:
    with pytest.raises(ObservationError, match="cannot be read"):
        answers.rows(Instant(1.0), answer(series), Labels())


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[1]",
        b'{"data": 1}',
        b'{"data": {"resultType": "scalar", "result": [1, "1"]}}',
        b'{"data": {"resultType": "vector", "result": [7]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": {}}]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, 1]}]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"count": "1"}]}]}}',
        b'{"data": {"resultType": "matrix", "result": [{"metric": {}, "value": [1, "1"]}]}}',
    ],
    ids=str,
)
def test_an_answer_of_another_shape_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        answers.decoded(body)


def test_an_answer_nested_without_end_is_none() -> None:
    with pytest.raises(RecursionError):
        answers.decoded(b'{"data": {"resultType": "vector", "result": [{"metric": ' + b"[" * 100_000)


def test_labels_are_read_once() -> None:
    known = Labels()
    series = {"metric": {"pod": "p0"}, "value": [1.0, "1"]}
    first = answers.rows(Instant(1.0), answer(series), known)
    second = answers.rows(Instant(2.0), answer(series | {"value": [2.0, "NaN"]}), known)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert first[0].labels is second[0].labels
    assert (first[0].value, first[0].at, second[0].at) == (1.0, 1.0, 2.0)
    assert math.isnan(second[0].value)


def test_points_that_repeat_a_value_count_once_where_changes_are_wanted() -> None:
    several = {"metric": {}, "values": [[1, "5"], [2, "5"], [3, "+Inf"], [4, "5"]]}
    whole = answers.rows(Instant(9.0), answer(several, kind="matrix"), Labels())
    changed = answers.rows(Instant(9.0), answer(several, kind="matrix"), Labels(), changes=True)
    assert whole == (({}, 5.0, 1.0), ({}, 5.0, 2.0), ({}, math.inf, 3.0), ({}, 5.0, 4.0))
    assert changed == (({}, 5.0, 1.0), ({}, math.inf, 3.0), ({}, 5.0, 4.0))
