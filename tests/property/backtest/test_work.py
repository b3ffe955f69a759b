"""Laws of the least work: no way of serving does with less."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest import work
from autoscaler.domain.pool import Role
from autoscaler.performance.profile import load_profile

MODEL = load_profile("h200-tp1-qwen3-32b").for_role(Role.DECODE)
prompts = st.integers(1, 30_000)


@settings(max_examples=200, deadline=None)
@given(prompt=prompts, output=st.integers(2, 300), itl=st.floats(0.02, 0.2), data=st.data())
def test_no_sequence_of_steps_generates_an_answer_with_less(
    prompt: int, output: int, itl: float, data: st.DataObject
) -> None:
    """Share of each step that the answer uses up: its k over all that fits beside the fixed part, times the step."""
    gaps = output - 1
    shape = np.array(data.draw(st.lists(st.floats(0.05, 1.0), min_size=gaps, max_size=gaps)))
    base = MODEL.step.base_s
    steps = base + shape * (itl - base) * gaps / shape.sum()  # their mean is the limit: nobody may be slower
    context = prompt + 1 + np.arange(gaps)
    marginal = MODEL.step.per_sequence_s + MODEL.step.per_kv_token_s * context
    used = float((marginal * steps / (steps - base)).sum())
    least = work.decode_s(MODEL, np.array([float(prompt)]), np.array([float(output)]), np.array([itl]))[0]
    assert least <= used * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(prompts, min_size=1, max_size=6))
def test_no_pass_computes_prompts_in_less(lengths: list[int]) -> None:
    together = [n for n in lengths if n <= MODEL.limits.max_batched_tokens]
    while sum(together) > MODEL.limits.max_batched_tokens:
        together.pop()
    if not together:
        return
    tokens = np.array(together, dtype=float)
    least = work.prefill_s(MODEL, tokens, np.zeros(len(tokens))).sum()
    assert least <= float(MODEL.prefill.pass_s(tokens.sum(), (tokens**2).sum())) * (1 + 1e-9)


@given(prompt=prompts, output=st.integers(1, 2000), itl=st.floats(0.02, 0.2), more=st.floats(1.0, 3.0))
def test_a_looser_limit_never_asks_for_more(prompt: int, output: int, itl: float, more: float) -> None:
    one = (np.array([float(prompt)]), np.array([float(output)]))
    assert work.decode_s(MODEL, *one, np.array([itl * more]))[0] <= work.decode_s(MODEL, *one, np.array([itl]))[0]


def test_a_limit_below_one_step_cannot_be_kept() -> None:
    one = np.array([100.0])
    assert work.decode_s(MODEL, one, one, np.array([MODEL.step.base_s]))[0] == np.inf
