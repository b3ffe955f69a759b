"""Which version acts while the newest cannot be used: the last that could, where nobody else has its workloads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.domain.policy import Mode, SLOPolicy, Written
from autoscaler.errors import InputError, PolicyError
from autoscaler.policy import parse_policy
from autoscaler.policy.office import STANDS_IN, STANDS_IN_CAREFULLY, Former, StandIn, of_written, stand_in

CHAT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "policies" / "chat.yaml").read_text(encoding="utf-8")
)
KEY = "llm/chat"


def written(mode: Mode, generation: int = 3) -> Written:
    return Written(generation, json.dumps(CHAT["spec"] | {"mode": mode.value}))


def policy(mode: Mode) -> SLOPolicy:
    (found,) = parse_policy(CHAT | {"spec": CHAT["spec"] | {"mode": mode.value}}).policies
    return found


AUTO, RECOMMEND = policy(Mode.AUTO), policy(Mode.RECOMMEND)
REMEMBERED = Former(AUTO)  # from a file: no resource says it
IN_OFFICE = Former(None, written(Mode.AUTO))  # after a restart: a status says it
LOWERED = Former(RECOMMEND, written(Mode.AUTO))  # it was kept from acting meanwhile


def known(_: SLOPolicy) -> None:
    """Know the engines of every policy."""


def strange(_: SLOPolicy) -> None:
    msg = "no such profile"
    raise InputError(msg)


@pytest.mark.parametrize(
    ("former", "auto", "expected"),
    [
        pytest.param(Former(), True, StandIn(), id="there was none"),
        pytest.param(REMEMBERED, True, StandIn(AUTO, None, (STANDS_IN,)), id="it goes on"),
        pytest.param(IN_OFFICE, True, StandIn(AUTO, IN_OFFICE.written, (STANDS_IN,)), id="after a restart too"),
        pytest.param(
            REMEMBERED, False, StandIn(RECOMMEND, None, (STANDS_IN_CAREFULLY,)), id="it acts no more than was meant"
        ),
        pytest.param(
            IN_OFFICE, False, StandIn(RECOMMEND, IN_OFFICE.written, (STANDS_IN_CAREFULLY,)), id="nor after a restart"
        ),
        pytest.param(LOWERED, True, StandIn(AUTO, LOWERED.written, (STANDS_IN,)), id="what it meant is not lost"),
        pytest.param(Former(RECOMMEND), True, StandIn(RECOMMEND, None, (STANDS_IN,)), id="Auto came with the slip"),
    ],
)
def test_the_last_version_that_could_be_used_stands_in(former: Former, expected: StandIn, *, auto: bool) -> None:
    assert stand_in(KEY, former, (), known, auto=auto) == expected


@pytest.mark.parametrize("former", [REMEMBERED, IN_OFFICE, LOWERED])
def test_none_keeps_a_workload_that_another_policy_has_now(former: Former) -> None:
    heir = replace(AUTO, name="heir", variants=AUTO.variants[:1])
    neighbour = replace(heir, variants=(replace(heir.variants[0], target=replace(heir.variants[0].target, name="x")),))
    assert stand_in(KEY, former, (neighbour, heir), known, auto=True) == StandIn()
    assert stand_in(KEY, former, (neighbour,), known, auto=True).policy == AUTO


def test_a_version_whose_engines_nobody_knows_any_more_stands_for_nothing() -> None:
    assert stand_in(KEY, IN_OFFICE, (), strange, auto=True) == StandIn(told=("no such profile",))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param("{", "is not JSON", id="cut off"),
        pytest.param("{}", "spec.model", id="empty"),
        pytest.param("[" * 100_000, "is not JSON", id="nested"),
        pytest.param('"x"', "expected a mapping", id="text"),
    ],
)
def test_a_kept_version_comes_through_the_same_door(spec: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told) as refused:
        of_written(KEY, Written(1, spec))
    assert str(refused.value).startswith("status.inOffice")
    found = stand_in(KEY, Former(None, Written(1, spec)), (), known, auto=True)
    assert found == StandIn(told=(str(refused.value),))


def test_a_kept_version_is_the_policy_that_was_written() -> None:
    assert of_written(KEY, written(Mode.AUTO)) == AUTO
