"""Labels of answers: read once, however often their text comes, and kept small."""

import pytest

from autoscaler.domain.units import Instant
from autoscaler.observe.answers import LONGEST_LABELS, Labels, TooLongError, decoded, rows
from autoscaler.observe.samples import Row, grouped

NOW = Instant(1000.0)
BUCKETS = b"""{"status": "success", "data": {"resultType": "vector", "result": [
    {"metric": {"pod": "a", "le": "1"}, "value": [1000, "2"]},
    {"metric": {"pod": "a", "le": "+Inf"}, "value": [1000, "3"]},
    {"metric": {"le": "1"}, "value": [1000, "4"]},
    {"metric": {}, "value": [1000, "5"]}
]}}"""


def test_labels_of_an_answer_are_as_they_stand_in_it() -> None:
    found = rows(NOW, decoded(BUCKETS), Labels())
    told = [{"pod": "a", "le": "1"}, {"pod": "a", "le": "+Inf"}, {"le": "1"}, {}]
    assert found == tuple(Row(labels, value, NOW) for labels, value in zip(told, (2.0, 3.0, 4.0, 5.0), strict=True))
    assert isinstance(found, tuple)
    assert [(row.labels.get("pod", ""), "pod" in row.labels) for row in found] == [
        ("a", True), ("a", True), ("", False), ("", False),
    ]  # fmt: skip
    with pytest.raises(KeyError):
        found[2].labels["pod"]


def test_labels_that_come_again_are_not_read_again() -> None:
    known = Labels()
    first, again = (rows(NOW, decoded(BUCKETS), known) for _ in range(2))
    assert isinstance(first, tuple)
    assert isinstance(again, tuple)
    assert all(one.labels is other.labels for one, other in zip(first, again, strict=True))
    assert len(known) == 4


def test_labels_as_long_as_a_book_are_not_kept() -> None:
    known = Labels()
    with pytest.raises(TooLongError, match=str(LONGEST_LABELS)):
        known[b'{"pod": "%s"}' % (b"a" * (LONGEST_LABELS + 1))]
    assert not known


def test_all_buckets_of_a_pod_have_one_key_between_them() -> None:
    found, keys = rows(NOW, decoded(BUCKETS), Labels()), dict[int, tuple[str, ...]]()
    assert isinstance(found, tuple)
    assert {key: [row.value for row in group] for key, group in grouped(found, ("pod",), keys).items()} == {
        ("a",): [2.0, 3.0],
        ("",): [4.0, 5.0],
    }
    assert len(keys) == 4
    assert len({id(key) for key in keys.values()}) == 2
