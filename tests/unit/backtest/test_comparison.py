"""A whole comparison: on one core, on a Dask cluster, on the command line, on paper."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscaler.backtest import report
from autoscaler.backtest.comparison import Comparison, compare
from autoscaler.backtest.contenders import OURS
from autoscaler.backtest.run import Sweep, over
from autoscaler.errors import InputError
from tests.command import run
from tests.unit.backtest import scenes

ROW = {
    "policy", "startup_s", "seed", "knob", "attainment", "attainment_by_profile", "worst_window", "cost",
    "cost_ratio_to_bound", "actions", "reversals", "lost_requests",
}  # fmt: skip

POLICY = """
apiVersion: disagg-autoscaler.io/v1alpha1
kind: SLOPolicy
metadata: {name: p, namespace: llm}
spec:
  model: Qwen/Qwen3-32B
  profiles:
    - {name: default, slo: {ttft: 3s, itl: 50ms, attainment: 0.95}}
  pools:
    prefill: {variants: [{name: prefill, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: p},
      accelerator: H200-SXM, costPerReplicaHour: 3, maxReplicas: 6, performanceProfile: h200-tp1-qwen3-32b}]}
    decode: {variants: [{name: decode, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d},
      accelerator: H200-SXM, costPerReplicaHour: 3, maxReplicas: 6, performanceProfile: h200-tp1-qwen3-32b}]}
"""


@pytest.fixture(scope="module")
def small() -> Comparison:
    sweep = Sweep((OURS, "hpa", "static"), (60.0,), seeds=2, settings=2)
    return compare(scenes.scene(), sweep, backend="sequential")


def test_settings_pool_their_seeds_and_the_cheapest_that_keeps_the_promise_is_named(small: Comparison) -> None:
    assert len(small.flights) == 3 * 2 * 2
    assert len(small.settings) == 3 * 2
    for (policy, startup_s), best in small.cheapest.items():
        rivals = [s for s in small.settings if s.policy == policy and s.startup_s == startup_s and s.reaches]
        assert best.reaches == bool(rivals)
        assert all(best.cost.mean <= rival.cost.mean for rival in rivals)


def test_every_flight_has_its_ratio_to_the_clairvoyant_cost(small: Comparison) -> None:
    known = small.bounds[60.0]
    for each in small.flights:
        assert small.ratio(each) == pytest.approx(each.score.cost / known.cost)


def test_the_report_is_one_page_that_needs_nothing_else(small: Comparison, tmp_path: Path) -> None:
    written = report.write(small, tmp_path / "out.html")
    text = written[0].read_text()
    assert not re.search(r'(src|href)="(?!#)', text.replace('xlink:href="#', ""))
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    for policy in small.sweep.policies:
        assert f"What happened under {policy}" in text
    endings = {path.suffix for path in written[1:]}
    assert endings == {".svg", ".png"}
    assert all(path.stat().st_size > 1000 for path in written)


def test_the_same_comparison_makes_the_same_page(small: Comparison, tmp_path: Path) -> None:
    first, second = (report.write(small, tmp_path / name)[0].read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="loky or dask or sequential"):
        compare(scenes.scene(), Sweep(("static",)), backend="spark")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail, rather than wait for ever, when what is inside takes longer."""

    def late(*_: object) -> None:
        msg = f"took longer than {seconds:g} s"
        raise TimeoutError(msg)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def failing(number: int) -> int:
    if number == 1:
        msg = "a flight failed"
        raise ValueError(msg)
    return number


@pytest.mark.slow
def test_what_fails_on_a_dask_cluster_is_told_and_ends_the_sweep() -> None:
    with within(240.0), pytest.raises(ValueError, match="a flight failed"):
        list(over(failing, [(number,) for number in range(3)], backend="dask", workers=1))


@pytest.mark.slow
def test_a_dask_cluster_finds_what_one_core_finds() -> None:
    scene, sweep = scenes.scene(), Sweep(("static", "hpa"), (60.0,), seeds=2)
    alone = compare(scene, sweep, bounded=False, backend="sequential")
    with within(240.0):
        spread = compare(scene, sweep, bounded=False, backend="dask", workers=2)
    assert [each.flight for each in spread.flights] == [each.flight for each in alone.flights]
    assert [each.score for each in spread.flights] == [each.score for each in alone.flights]


def _trace(folder: Path) -> Path:
    trace, path = scenes.trace(300.0), folder / "trace.csv"
    rows = zip(trace.arrival_s, trace.input_tokens, trace.output_tokens, strict=True)
    lines = [f"{arrival:.3f},{prompt},{output}" for arrival, prompt, output in rows]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]) + "\n")
    return path


def _run(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    (folder / "policy.yaml").write_text(POLICY)
    code = run("backtest", "--policy", folder / "policy.yaml", "--trace", _trace(folder), *more)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_gives_rows_and_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--against", "hpa,static", "--startup", "60,180", "--seeds", "2", "--backend", "sequential")
    code, out, _ = _run(tmp_path, capsys, *options, "--output", "json")
    found = json.loads(out)
    assert code == 0
    assert len(found["rows"]) == 3 * 2 * 2
    assert all(set(row) >= ROW for row in found["rows"])
    assert set(found["bound"]) >= {"attainment", "cost", "certified_lower"}
    assert [each["startup_s"] for each in found["bounds"]] == [60.0, 180.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--against", "hpaa"), 'did you mean "hpa"', id="unknown policy"),
        pytest.param(("--startup", "soon"), "write e.g. 60,180", id="no number"),
        pytest.param(("--startup", "-5"), "write e.g. 60,180", id="negative"),
        pytest.param(("--scenario", "x.yaml"), "give either --policy and --trace, or --scenario", id="both"),
    ],
)
def test_wrong_options_say_what_to_write(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = _run(tmp_path, capsys, *options)
    assert code == 1
    assert said in err
