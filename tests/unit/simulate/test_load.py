"""Load that is made."""

import numpy as np
import pytest

from autoscaler.errors import InputError
from autoscaler.simulate.load import (
    Lengths,
    Rate,
    Stream,
    burst,
    compose,
    constant,
    sine,
    steps,
)  # fmt: skip

SHORT = Lengths(100)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        pytest.param(constant(50.0, 100.0), 5000, id="constant"),
        pytest.param(steps([(10.0, 100.0), (90.0, 50.0)]), 5500, id="stages"),
        pytest.param(sine(10.0, 90.0, 50.0, 100.0), 5000, id="two waves"),
        pytest.param(burst(10.0, 100.0, 20.0, 30.0, 100.0), 3700, id="burst"),
        pytest.param(Rate(((0.0, 0.0), (100.0, 100.0))), 5000, id="ramp"),
    ],
)
def test_as_many_requests_arrive_as_the_rate_says(rate: Rate, expected: int) -> None:
    arrivals = rate.arrivals(np.random.default_rng(1))
    assert len(arrivals) == pytest.approx(expected, abs=5 * expected**0.5)
    assert (np.diff(arrivals) >= 0).all()


def test_a_ramp_puts_three_quarters_into_its_second_half() -> None:
    arrivals = Rate(((0.0, 0.0), (100.0, 200.0))).arrivals(np.random.default_rng(2))
    assert (arrivals > 50.0).mean() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("squared_variation", [0.25, 1.0, 4.0])
def test_gaps_vary_as_asked(squared_variation: float) -> None:
    gaps = np.diff(constant(100.0, 500.0).arrivals(np.random.default_rng(3), squared_variation))
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(squared_variation, rel=0.1)


def test_without_variation_gaps_are_equal() -> None:
    gaps = np.diff(constant(10.0, 100.0).arrivals(np.random.default_rng(3), 0.0))
    assert gaps == pytest.approx(np.full(len(gaps), 0.1))


def test_lengths_have_the_mean_that_was_asked_and_keep_their_bounds() -> None:
    drawn = Lengths(1000, 0.5, least=100, most=20_000).draw(50_000, np.random.default_rng(4))
    assert drawn.mean() == pytest.approx(1000, rel=0.02)
    assert drawn.std() / drawn.mean() == pytest.approx(0.5, rel=0.03)
    cut = Lengths(1000, 2.0, least=900, most=1100).draw(1000, np.random.default_rng(4))
    assert (cut.min(), cut.max()) == (900, 1100)


def test_equal_seeds_give_equal_traces_and_streams_do_not_disturb_each_other() -> None:
    rag = Stream("rag", constant(5.0, 100.0), SHORT, SHORT)
    chat, more = (Stream("chat", constant(rate, 100.0), SHORT, SHORT) for rate in (5.0, 9.0))
    first, again, other = (compose(streams, 7) for streams in ([rag, chat], [rag, chat], [rag, more]))
    assert first.arrival_s.tolist() == again.arrival_s.tolist()
    assert first.arrival_s[first.profile == 0].tolist() == other.arrival_s[other.profile == 0].tolist()


def test_a_group_shares_its_first_blocks_and_nothing_else() -> None:
    stream = Stream("rag", constant(5.0, 100.0), Lengths(1500), SHORT, shared_prefix_tokens=1024, prefix_groups=3)
    trace = compose([stream], 1)
    assert trace.hash_ids is not None
    heads = {ids[:2] for ids in trace.hash_ids}
    tails = [block for ids in trace.hash_ids for block in ids[2:]]
    assert heads == {(0, 1), (2, 3), (4, 5)}
    assert len(tails) == len(set(tails))
    assert all(len(ids) == 2524 // 512 for ids in trace.hash_ids)


@pytest.mark.parametrize("points", [((0.0, 1.0),), ((5.0, 1.0), (0.0, 1.0)), ((0.0, -1.0), (5.0, 1.0))])
def test_a_rate_that_is_none_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InputError, match="a rate needs two or more points"):
        Rate(points)


def test_load_without_requests_is_refused() -> None:
    with pytest.raises(InputError, match="holds no request"):
        compose([Stream("chat", constant(0.0, 100.0), SHORT, SHORT)], 1)
