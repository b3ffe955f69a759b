"""Forecasters judged on a trace, on a Prometheus' past, in the words of the command and on its page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest import forecast_report
from autoscaler.backtest.forecasts import (
    SIGNALS,
    Judged,
    Series,
    judged,
    series_of,
    series_of_history,
    typical_ratio,
    verdict,
)
from autoscaler.domain.observation import ModelObservation, Moments, ProfileLoad
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.forecast.evaluation import MIXTURE, REFERENCE
from autoscaler.forecast.forecaster import EXPERTS
from autoscaler.simulate.trace import Trace
from tests import planning
from tests.command import run

ABSENT = Missing(GapReason.ABSENT, Instant(0.0))
LEARNED = {"day-profile", "ridge", "boosting", "boosting-q95"}
"""Forecasters that need a day or more."""


def trace(minutes: int = 60, profiles: tuple[str, ...] = ("chat",)) -> Trace:
    """Return a request every two seconds, profiles in turn, prompts of 100 and answers of 10 tokens."""
    count = minutes * 30 + 1
    arrival = np.arange(count, dtype=np.float64) * 2.0
    lengths = np.full(count, 100, dtype=np.int32), np.full(count, 10, dtype=np.int32)
    return Trace(arrival, *lengths, (np.arange(count) % len(profiles)).astype(np.uint8), profiles, name="steady")


def noisy(noise: float, minutes: int = 90) -> Judged:
    """Return the forecasts of a load of ten requests/s with independent noise."""
    values = 10.0 + noise * np.random.default_rng(0).standard_normal(minutes)
    return judged(Series("made", "chat", "requests", values, 1.0), every=1)


def test_a_trace_becomes_rates_by_minute() -> None:
    found = series_of(trace())
    assert [(each.profile, each.signal) for each in found] == [("chat", signal) for signal in SIGNALS]
    for each, rate in zip(found, (0.5, 50.0, 5.0), strict=True):
        assert each.values == pytest.approx(np.full(60, rate))
    assert found[1].grain == pytest.approx(100.0)


def test_profiles_are_judged_alone_and_together() -> None:
    found = series_of(trace(profiles=("chat", "rag")))
    assert {each.profile for each in found} == {"chat", "rag", "all"}
    together = next(each for each in found if each.profile == "all" and each.signal == "requests")
    assert together.values == pytest.approx(np.full(60, 0.5))


def test_a_short_trace_is_refused() -> None:
    with pytest.raises(InputError, match=r"steady: 20 minutes are too few .* 45 or more"):
        series_of(trace(20))


def observed(rate: Signal[float]) -> ModelObservation:
    policy = planning.policy(profiles=(planning.CHAT,))
    prompt, output = Moments(100.0, 1e4), Moments(10.0, 1e2)

    def tokens(each: float) -> Signal[float]:
        return rate if isinstance(rate, Missing) else each * rate

    load = ProfileLoad("chat", rate, tokens(100.0), tokens(60.0), tokens(10.0), prompt, output, ABSENT, ABSENT, ABSENT)
    return ModelObservation(policy.key, {"chat": load}, {}, {}, 0.0)


def test_what_prometheus_did_not_know_is_a_gap_and_no_zero() -> None:
    past = [
        (Instant(60.0 * minute), observed(ABSENT if minute in {110, 111} else 4.0))
        for minute in range(100, 160)
        if minute != 130
    ]
    requests, prompts, outputs = series_of_history(past, "llm/model")
    assert requests.first == 100
    assert np.flatnonzero(np.isnan(requests.values)).tolist() == [10, 11, 30]
    assert np.nanmax(requests.values) == np.nanmin(requests.values) == 4.0
    assert float(np.nanmean(prompts.values)) == 400.0
    assert float(np.nanmean(outputs.values)) == 40.0


def test_a_past_without_a_request_a_minute_is_refused() -> None:
    with pytest.raises(InputError, match="no profile has a request a minute"):
        series_of_history([(Instant(60.0 * minute), observed(0.001)) for minute in range(60)], "llm/model")


def test_noise_is_better_averaged_than_repeated_and_the_verdict_says_so() -> None:
    found = [noisy(1.0)]
    assert {score.forecaster for score in found[0].scores} == {MIXTURE, *EXPERTS} - LEARNED
    assert found[0].score(REFERENCE, 300).mae_ratio == 1.0
    assert typical_ratio(found, 5) < 0.9
    assert re.match(r"Forecasts serve this load .*5.* minutes ahead: the mixture errs \d+ %", verdict(found))
    assert "a longer trace says more" in verdict(found)


def test_where_nothing_beats_the_last_value_the_verdict_says_so() -> None:
    walk = 100.0 + np.cumsum(np.random.default_rng(1).standard_normal(200))
    found = [judged(Series("made", "chat", "requests", walk, 1.0), every=1)]
    assert "minutes ahead nothing errs clearly less than the last value" in verdict(found)


def test_the_page_shows_a_fan_of_every_series_and_the_verdict(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [noisy(1.0)]
    written = forecast_report.write(found, tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert verdict(found) in page
    assert page.count("<svg") == 1
    assert "above P99" in page
    assert all(name in page for name in set(EXPERTS) - LEARNED)
    assert [path.name for path in written] == ["out.html", "fan-chat-requests.svg", "fan-chat-requests.png"]


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run("backtest", *arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command_judges_a_trace_without_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(3)
    arrivals = np.sort(draw.uniform(0.0, 3600.0, 5000))
    rows = "\n".join(f"{at:.3f},{draw.integers(50, 150)},{draw.integers(5, 15)}" for at in arrivals)
    file = tmp_path / "trace.csv"
    file.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}\n", encoding="utf-8")
    code, out, _ = ran(capsys, "--forecast", "--trace", str(file), "--workers", "1", "--output", "json")
    said = json.loads(out)
    assert code == 0
    assert said["verdict"]
    assert {(row["signal"], row["horizon_s"]) for row in said["series"]} == {
        (signal, horizon) for signal in SIGNALS for horizon in (60, 300, 900)
    }
    keys = {"trace", "profile", "signal", "horizon_s", "forecaster", "mae_ratio", "coverage_p90"}
    assert keys | {"pinball_ratio_p95", "capacity_ratio"} <= set(said["series"][0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(("--forecast",), "give either --trace, or --prometheus with --policy", id="nothing"),
        pytest.param(("--forecast", "--prometheus", "http://p"), "--from and --to", id="no time span"),
        pytest.param(("--prometheus", "http://p"), "belong to --forecast", id="without --forecast"),
    ],
)
def test_options_that_do_not_belong_together(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ran(capsys, *options)
    assert code == 1
    assert words in " ".join(err.split())
