"""Step, prefill, prior, grids and fits, against hand calculations and the H200 measurements."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from autoscaler.domain.observation import Moments
from autoscaler.errors import InputError
from autoscaler.performance import fit, grid
from autoscaler.performance.accelerators import TABLE, accelerator
from autoscaler.performance.admission import prompt_time
from autoscaler.performance.prior import Serving, physics_prior
from autoscaler.performance.profile import load_profile
from autoscaler.performance.shapes import BUILT_IN, built_in, kv_bytes_per_token, shape_of
from autoscaler.performance.step import PrefillModel, StepModel

DATA = Path(__file__).parents[3] / "benchmarks" / "data"
QWEN = load_profile("h200-tp1-qwen3-32b").model


def test_step_adds_its_terms() -> None:
    step = StepModel(0.010, 1e-4, 1e-7, 1e-5, 100.0, 2e-4, 1e-3)
    assert float(step.step_s(144, 10_000, 50)) == pytest.approx(0.010 + 12e-3 + 144e-4 + 44 * 2e-4 + 10_000e-7 + 50e-5)


def test_prefill_without_corner_is_the_plain_maximum() -> None:
    prefill = PrefillModel(0.02, 0.001, 1e-4, 1e-9)
    assert float(prefill.latency_s(10)) == 0.02
    assert float(prefill.latency_s(1000, 500)) == pytest.approx(0.001 + 0.1 + 1e-9 * 1000 * 2000)


def test_an_infinite_floor_takes_forever_without_a_warning() -> None:
    assert float(PrefillModel(math.inf, 0.0, 0.0, 0.0, 6.0).latency_s(5)) == math.inf


def test_a_prompt_that_fills_a_step_takes_the_time_of_that_step() -> None:
    time = prompt_time(QWEN, Moments(8192.0, 8192.0**2))
    assert time.mean == pytest.approx(float(QWEN.prefill.latency_s(8192)), rel=0.01)
    assert time.squared_variation == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "billions", "kv_bytes"),
    [
        ("meta-llama/Llama-3.1-8B", 8.03, 131_072),
        ("meta-llama/Llama-3.1-70B-Instruct", 70.6, 327_680),
        ("Qwen/Qwen3-32B", 32.8, 262_144),
        ("Qwen/Qwen3-30B-A3B", 30.5, 98_304),
        ("openai/gpt-oss-120b", 116.8, 36_864),
        ("deepseek-ai/DeepSeek-V3", 671.0, 70_272),
    ],
)
def test_shapes_have_the_published_sizes(name: str, billions: float, kv_bytes: int) -> None:
    shape = built_in(name)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.002)
    assert kv_bytes_per_token(shape, 16) == kv_bytes


def test_a_config_without_sizes_is_refused() -> None:
    with pytest.raises(InputError, match="hidden_size is absent"):
        shape_of({"num_hidden_layers": 2})
    with pytest.raises(InputError, match="'many'"):
        shape_of({"num_hidden_layers": "many"})


@pytest.mark.parametrize("tag", ["llama-3.1-8b", "qwen3-32b"])
def test_the_prior_is_near_the_measured_engine(tag: str) -> None:
    measured = grid.read_grid(DATA / f"h200-vllm-0.26-{tag}-tp1.json")
    model = physics_prior(accelerator("NVIDIA H200"), shape_of(measured.config)).model
    errors = [float(model.step.step_s(p.batch, p.batch * p.context_tokens)) / p.itl_s - 1 for p in measured.decode]
    assert np.mean(np.abs(errors)) < 0.08
    assert model.limits.kv_capacity_tokens == pytest.approx(measured.kv_capacity_tokens, rel=0.02)


def test_every_prior_is_physical() -> None:
    for device in TABLE:
        for name in BUILT_IN:
            try:
                prior = physics_prior(device, built_in(name), Serving(tensor_parallel=8, weight_bits=8))
            except ValueError as error:
                assert "cannot hold it" in str(error)  # noqa: PT017 - both outcomes are right, each for some devices
                continue
            step, prefill = prior.model.step, prior.model.prefill
            assert min(step.base_s, step.per_sequence_s, step.per_kv_token_s, prefill.per_token_s) > 0
            assert step.per_root_sequence_s >= 0
            assert all(0 < sd <= 1.5 for sd in prior.uncertainty.all)


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold it"):
        physics_prior(accelerator("L4"), built_in("Qwen/Qwen3-32B"))
    with pytest.raises(ValueError, match="tensor parallelism 3"):
        physics_prior(accelerator("L4"), built_in("Qwen/Qwen3-32B"), Serving(tensor_parallel=3))


@pytest.mark.parametrize("tag", ["llama-3.1-8b", "qwen3-32b"])
def test_left_out_errors_keep_their_targets(tag: str) -> None:
    measured = grid.read_grid(DATA / f"h200-vllm-0.26-{tag}-tp1.json")
    assert np.abs(fit.itl_errors_left_out(measured.decode)).mean() < 0.012
    alone = [point for point in measured.prefill if point.prompts == 1]
    assert np.abs(fit.prefill_errors_left_out(alone)).mean() < 0.02


def test_a_fit_finds_the_coefficients_that_made_the_points() -> None:
    true = StepModel(0.01, 3e-5, 5e-8, 0.0, 128.0, 6e-5)
    points = [
        fit.DecodePoint(b, c, float(true.step_s(b, b * c))) for b in (1, 16, 64, 128, 192, 256) for c in (128, 2048)
    ]
    found = fit.fit_step(points)
    assert found.base_s == pytest.approx(true.base_s, rel=1e-3)
    assert found.per_kv_token_s == pytest.approx(true.per_kv_token_s, rel=1e-3)
    assert found.knee_sequences == 128.0


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="3 different points"):
        fit.fit_step([fit.DecodePoint(1, 100, 0.01)] * 5)
    with pytest.raises(ValueError, match="4 different prompt lengths"):
        fit.fit_prefill([fit.PrefillPoint(100, 0.01)] * 5)


def written(tmp_path: Path, body: object) -> Path:
    """Return a file that holds a JSON value."""
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param({"decode": [], "prefill": []}, "the grid is empty", id="empty"),
        pytest.param({"decode": [{"batch": 1, "ctx": 9, "itl_s": 20}]}, "decode[0].itl_s: 20 cannot be", id="20 s"),
        pytest.param({"decode": [{"batch": 1, "ctx": 9, "itl_s": math.nan}]}, "not a measurement", id="NaN"),
        pytest.param({"decode": [{"batch": 1, "itl_s": 0.02}]}, "decode[0].ctx: a number is expected", id="absent"),
        pytest.param({"decode": 3}, "decode: a list of objects", id="no list"),
        pytest.param([1], "a JSON object is expected", id="no object"),
        pytest.param({"hello": 1}, "neither a grid", id="unknown kind"),
        pytest.param({"benchmarks": []}, "the report is empty", id="empty report"),
    ],
)
def test_benchmarks_that_cannot_be_are_refused(tmp_path: Path, body: object, told: str) -> None:
    with pytest.raises(InputError) as refusal:
        grid.read_benchmark(written(tmp_path, body))
    assert told in str(refusal.value)


def test_a_served_benchmark_gives_its_operating_point(tmp_path: Path) -> None:
    body = {
        "model_id": "m", "completed": 100, "total_input_tokens": 80_000, "total_output_tokens": 20_000,
        "duration": 40.0, "mean_tpot_ms": 20.0, "median_ttft_ms": 90.0, "max_concurrency": 10,
    }  # fmt: skip
    read = grid.read_benchmark(written(tmp_path, body))
    assert read.decode == (fit.DecodePoint(10.0, 900.0, 0.02),)
    assert not read.prefill


def test_a_guided_benchmark_gives_a_point_per_rate(tmp_path: Path) -> None:
    def mean(value: float) -> dict[str, object]:
        return {"successful": {"mean": value}}

    metrics = {
        "prompt_token_count": mean(500.0), "output_token_count": mean(100.0), "request_concurrency": mean(1.0),
        "inter_token_latency_ms": mean(18.0), "time_to_first_token_ms": mean(60.0),
    }  # fmt: skip
    read = grid.read_benchmark(written(tmp_path, {"benchmarks": [{"metrics": metrics}]}))
    assert read.decode == (fit.DecodePoint(1.0, 550.0, 0.018),)
    assert read.prefill == (fit.PrefillPoint(500.0, 0.06),)
