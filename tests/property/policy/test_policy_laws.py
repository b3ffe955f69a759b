"""Laws of the policy door: whatever comes in, only PolicyError comes out; what is valid survives a round trip."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Seconds
from autoscaler.errors import PolicyError
from autoscaler.policy import durations, parse_policy
from autoscaler.policy.fields import names_at
from autoscaler.policy.load import inspect_document
from autoscaler.policy.reading import read_text

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "policies").glob("*.yaml"))]
VALID: list[dict[str, Any]] = [yaml.safe_load(text) for text in TEXTS]
Place: TypeAlias = tuple[str | int, ...]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["99%", "2s", "0s", "default", "rag", "Auto", "apps/v1", "-1", "1e999"])
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
odd_keys = st.dictionaries(st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False), scalars, max_size=2)


def places(value: Any, at: Place = ()) -> Iterator[Place]:  # noqa: ANN401 - any document
    """Yield every place in a document below its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def holder(document: Any, place: Place) -> Any:  # noqa: ANN401 - any document
    """Return the dict or list in which a place lies."""
    for part in place[:-1]:
        document = document[part]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid policy with one to four values replaced, removed, added or copied elsewhere."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        known = list(places(document))
        if not known:
            break
        place = draw(st.sampled_from(known))
        inside = holder(document, place)
        match draw(st.sampled_from(["replace", "remove", "rename", "transplant"])):
            case "replace":
                inside[place[-1]] = draw(trees | odd_keys)
            case "remove":
                del inside[place[-1]]
            case "rename" if isinstance(inside, dict):
                inside[draw(st.text(max_size=12))] = inside.pop(place[-1])
            case _:
                source = draw(st.sampled_from(known))
                inside[place[-1]] = copy.deepcopy(_at(document, source))
    return document


def _at(document: Any, place: Place) -> Any:  # noqa: ANN401 - any document
    for part in place:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):  # an earlier mutation took it away
            return None
    return document


@settings(max_examples=300, deadline=None)
@given(document=mutated())
def test_a_mutated_policy_is_valid_or_refused_with_paths(document: dict[str, Any]) -> None:
    policy, problems = parsed(document)
    if policy is None:
        assert problems
        assert all(problem.startswith("llm/mutant: ") for problem in problems)
    else:
        assert all(variant.min_replicas <= variant.max_replicas for variant in policy.variants)
        assert policy.profile("default").match.is_empty


def parsed(document: dict[str, Any]) -> tuple[SLOPolicy | None, tuple[str, ...]]:
    """Return the policy of a document, or what PolicyError says of it; any other error fails the test."""
    try:
        return parse_policy(document, "llm/mutant").policies[0], ()
    except PolicyError as refused:
        return None, refused.problems


@settings(max_examples=200, deadline=None)
@given(text=st.sampled_from(TEXTS), cut=st.tuples(st.floats(0, 1), st.integers(0, 40)), inserted=st.binary(max_size=12))
def test_a_damaged_file_never_raises(text: str, cut: tuple[float, int], inserted: bytes) -> None:
    content = text.encode()
    begin = int(cut[0] * len(content))
    read = read_text(content[:begin] + inserted + content[begin + cut[1] :], "damaged.yaml")
    for document in read.documents:
        policy, problems = inspect_document(document, "damaged.yaml")
        assert policy is not None or problems
    assert read.documents or read.problems


@settings(max_examples=100, deadline=None)
@given(value=trees)
def test_any_value_at_the_root_is_refused(value: object) -> None:
    with pytest.raises(PolicyError):
        parse_policy({"spec": value})


@pytest.mark.parametrize("document", VALID, ids=lambda document: str(document["metadata"]["name"]))
def test_a_valid_policy_survives_being_written_and_read_again(document: dict[str, Any]) -> None:
    read = read_text(yaml.safe_dump(document).encode(), "again.yaml")
    ((policy, problems),) = (inspect_document(found, "again.yaml") for found in read.documents)
    assert problems == read.problems == ()
    assert policy == parse_policy(document).policies[0]


@given(st.integers(0, 10**9))
def test_a_duration_survives_being_written_and_read_again(milliseconds: int) -> None:
    duration = Seconds(milliseconds / 1000)
    assert durations.parse(durations.render(duration)) == duration


PARTS: list[Place] = [
    ("spec",),
    ("spec", "profiles", 0),
    ("spec", "profiles", 0, "slo"),
    ("spec", "pools", "prefill", "variants", 0),
    ("spec", "pools", "prefill", "variants", 0, "scaleTargetRef"),
]


@settings(max_examples=100, deadline=None)
@given(part=st.sampled_from(PARTS), data=st.data())
def test_a_field_with_a_letter_left_out_is_recognised(part: Place, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([known for known in names_at(part) if len(known) > 4]))
    left_out = data.draw(st.integers(0, len(name) - 1))
    misspelt = name[:left_out] + name[left_out + 1 :]
    assume(misspelt not in names_at(part))  # model without its l is mode
    document = copy.deepcopy(VALID[0])
    holder(document, (*part, misspelt))[misspelt] = {}
    with pytest.raises(PolicyError) as refused:
        parse_policy(document)
    meant = [known for known in names_at(part) if misspelt in _one_letter_less(known)]  # schedule: scheduler, schedules
    told = [f'{misspelt}: unknown field, did you mean "{known}"?' for known in meant]
    assert any(hint in problem for hint in told for problem in refused.value.problems)


def _one_letter_less(name: str) -> set[str]:
    return {name[:left_out] + name[left_out + 1 :] for left_out in range(len(name))}
