"""What is seen of a model that unified and disaggregated engines serve together."""

import pytest

from autoscaler.domain.observation import ProfileLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import is_present, known
from tests import observing
from tests.observing import Page, target
from tests.unit.observe.test_gaps import look

POLICY = observing.policy(roles=tuple(Role))
FLEET = observing.Fleet(POLICY.key, {role.value: observing.pods(role.value, role.value[0] + "0") for role in Role})


def page(role: Role, rate: float, cached: float = 0.25) -> Page:
    return lambda s: observing.engine(s, role, rate, running=4.0 if rate else 0.0, cached=cached)


def seen(pair: float, unified: float) -> ProfileLoad:
    """Return the load where so many requests a second come to a prefill and decode pod, and to a unified one."""
    pages = {
        target("p0", "prefill"): page(Role.PREFILL, pair),
        target("d0", "decode"): page(Role.DECODE, pair),
        target("u0"): page(Role.UNIFIED, unified, cached=0.5),
    }
    return look(pages, policy=POLICY, fleet=FLEET).models[POLICY.key].loads["default"]


def test_each_request_counts_once_wherever_its_prompt_was_computed() -> None:
    load = seen(4.0, 2.0)
    assert known(load.requests_per_second, -1.0) == pytest.approx(6.0, rel=0.01)
    assert known(load.uncached_prompt_tokens_per_second, -1.0) == pytest.approx(4000 * 0.75 + 2000 * 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("pair", "unified", "mean_s"),
    [
        pytest.param(4.0, 4.0, 0.575, id="decode adds to prefill, not to unified"),
        pytest.param(0.0, 4.0, 0.5, id="unified alone, while the pair is idle"),
        pytest.param(4.0, 0.0, 0.65, id="the pair alone"),
    ],
)
def test_time_to_first_token_is_that_of_the_way_a_request_went(pair: float, unified: float, mean_s: float) -> None:
    ttft = seen(pair, unified).ttft
    assert is_present(ttft)
    assert ttft.mean_s == pytest.approx(mean_s, rel=0.01)
