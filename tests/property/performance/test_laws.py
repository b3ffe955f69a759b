"""Laws of the performance models that hold for every input."""

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.domain.units import Instant
from autoscaler.performance.calibrate import Calibration, StepSample
from autoscaler.performance.prior import Uncertainty
from autoscaler.performance.profile import builtin_names, load_profile
from autoscaler.performance.step import ReplicaModel, StepModel

models = st.sampled_from([load_profile(name).model for name in builtin_names()])
steps = st.builds(
    StepModel,
    base_s=st.floats(1e-3, 0.1),
    per_sequence_s=st.floats(1e-6, 1e-3),
    per_kv_token_s=st.floats(1e-9, 1e-6),
    knee_sequences=st.floats(8, 512),
    per_sequence_beyond_knee_s=st.floats(0.0, 1e-3),
    per_root_sequence_s=st.floats(0.0, 1e-2),
)


@given(step=steps, extra=st.floats(1e-5, 0.2), context=st.floats(1, 1e5))
def test_the_largest_batch_takes_exactly_the_time(step: StepModel, extra: float, context: float) -> None:
    limit_s = step.base_s + extra
    batch = step.largest_batch(limit_s, context)
    assert abs(float(step.step_s(batch, batch * context)) / limit_s - 1.0) < 1e-6


@given(
    name=st.sampled_from(builtin_names()),
    points=st.lists(st.tuples(st.floats(1, 256), st.floats(10, 2e5), st.floats(1e-4, 1.0)), max_size=40),
)
def test_a_calibration_stays_within_its_clamp_whatever_it_sees(
    name: str, points: list[tuple[float, float, float]]
) -> None:
    state = Calibration.prior(load_profile(name).model, Uncertainty())
    for tick, point in enumerate(points):
        state = state.updated([StepSample(*point)], Instant(15.0 * (tick + 1)))
    assert all(0.25 - 1e-9 <= scale <= 4.0 + 1e-9 for scale in state.scales)
    assert Calibration.from_json(state.to_json()) == state


@given(model=models, length=st.floats(1, 1e5), more=st.floats(1.0, 10.0), prefix=st.floats(0, 1e5))
def test_longer_prompts_and_prefixes_never_take_less_time(
    model: ReplicaModel, length: float, more: float, prefix: float
) -> None:
    prefill = model.prefill
    assert float(prefill.latency_s(length)) <= float(prefill.latency_s(more * length)) * (1 + 1e-12)
    assert float(prefill.latency_s(length)) <= float(prefill.latency_s(length, prefix)) * (1 + 1e-12)
