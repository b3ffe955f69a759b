"""The scoreboard on two minutes of made load: same input, same rows; what fails is a row; what is kept stays."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.backtest.contenders import ABLATED, CONTENDERS
from autoscaler.backtest.run import Flight
from autoscaler.decider import Decider
from benchmarks import scoreboard
from benchmarks.board import flights, tracks
from benchmarks.board.tracks import ROOT, Half, Track

POLICY = ROOT / "examples" / "tunnel_hour" / "policy.yaml"


def load(path: Path, *, profile: str = "default") -> Path:
    """Write two minutes of Poisson arrivals, 2 requests/s."""
    random = np.random.default_rng(7)
    arrivals = np.cumsum(random.exponential(0.5, 240))
    lines = [f"{at:.3f},{random.integers(50, 2000)},{random.integers(5, 200)},{profile}" for at in arrivals]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens,profile", *lines]) + "\n", encoding="utf-8")
    return path


def flown(trace: Path, folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Run the command on a trace; return its exit code and rows."""
    rows = folder / "rows.json"
    words = [
        "--trace",
        str(trace),
        "--policy",
        str(POLICY),
        "--startup",
        "30",
        "--against",
        "static,hpa",
        "--workers",
        "1",
    ]
    words += ["--seeds", "2", "--settings", "2", "--keep", str(folder / "kept"), "--json", str(rows)]
    code = scoreboard.main([*words, "--page", str(folder / "page.md"), "--images", str(folder / "images"), *more])
    return code, json.loads(rows.read_text(encoding="utf-8"))


def test_rows_say_seed_start_up_attainment_and_cost_ratio(tmp_path: Path) -> None:
    code, told = flown(load(tmp_path / "day.csv"), tmp_path)
    rows = told["rows"]
    (bound,) = [row for row in rows if row["kind"] == "bounded"]
    flights = [row for row in rows if row["kind"] == "flight"]
    assert code == 0
    assert {(row["policy"], row["seed"]) for row in flights if row["shipped"]} == {
        (name, seed) for name in ("ours", "static", "hpa") for seed in (0, 1)
    }
    assert all(row["startup_s"] == 30.0 and row["half"] == "given" for row in rows)
    assert all(row["cost_ratio"] == pytest.approx(row["cost"] / bound["cost"]) for row in flights)
    assert all(min(row["attainment_by_profile"].values()) == row["worst_profile"] for row in flights)
    assert {row["seed"] for row in flights if not row["shipped"]} == {0}  # knobs are swept on the load as it is
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| **ours** |" in page
    assert "images/day.svg" in page
    assert (tmp_path / "images" / "day.svg").stat().st_size > 1000


def test_a_stopped_run_goes_on_and_ends_as_it_would_have(tmp_path: Path) -> None:
    trace = load(tmp_path / "day.csv")
    _, whole = flown(trace, tmp_path)
    files = sorted((tmp_path / "kept").rglob("*.json"))
    untouched, gone = files[1:], files[0]
    times = {file: file.stat().st_mtime_ns for file in untouched}
    gone.unlink()
    _, again = flown(trace, tmp_path)
    assert again["rows"] == whole["rows"]
    assert gone.exists()
    assert {file: file.stat().st_mtime_ns for file in untouched} == times


def test_cells_that_fail_are_rows_with_their_error(tmp_path: Path) -> None:
    code, told = flown(load(tmp_path / "day.csv", profile="unheard-of"), tmp_path)
    assert code == 1
    assert {row["kind"] for row in told["rows"]} == {"flight", "bounded"}
    assert all("profile unheard-of is not in the policy" in row["error"] for row in told["rows"])
    assert "Cells that failed" in (tmp_path / "page.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--trace", "a.csv", "--policy", "b.yaml"], "a.csv: no such file", id="no file"),
        pytest.param(["--trace", "a.csv"], "--policy: 0 for 1 traces", id="no policy"),
        pytest.param(["--policy", "b.yaml"], "needs --trace", id="policy alone"),
        pytest.param(["--only", "nothing-like-this"], "no load", id="no such load"),
        pytest.param(["--against", "hpb"], 'did you mean "hpa"?', id="no such policy"),
        pytest.param(["--startup", "-3"], "is no list of seconds", id="no such time"),
    ],
)
def test_what_cannot_be_used_is_said(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scoreboard.main(words) == 2
    assert message in capsys.readouterr().err


def test_the_development_set_can_be_flown_and_has_two_halves_of_the_same_kinds() -> None:
    halves = {half: [t for t in tracks.development() if t.half is half] for half in (Half.CHOOSING, Half.CONFIRMING)}
    assert all(len(found) >= 10 for found in halves.values())
    for found in halves.values():
        scenes = [tracks.scene(track) for track in found]
        assert any(scene.faults for scene in scenes)
        assert any(scene.startup_spread >= 3 and scene.failing_share for scene in scenes)
        assert any(scene.settings.prefix_caching for scene in scenes)
        assert any(len(scene.policy.variants) == 6 for scene in scenes)
        assert len({scene.trace.name for scene in scenes}) == len(scenes)


def test_a_load_whose_trace_stands_elsewhere_is_read_from_there(tmp_path: Path) -> None:
    load(tmp_path / "elsewhere.csv", profile="chat")
    told = (tracks.SCENES / Half.CHOOSING / "azure-chat-32b.yaml").read_text(encoding="utf-8")
    scenario = tmp_path / "scenarios" / "far.yaml"
    scenario.parent.mkdir()
    lines = [line for line in told.splitlines() if not line.startswith("  trace:")]
    lines.insert(lines.index("load:") + 1, "  trace: {file: elsewhere.csv}")
    scenario.write_text("\n".join(lines), encoding="utf-8")
    assert len(tracks.scene(Track("far", Half.CHOOSING, scenario, folder=tmp_path)).trace) == 240


def test_other_limits_and_prices_are_other_cells() -> None:
    track = next(track for track in tracks.development() if track.name == "three-variants-day-8b")
    changed = replace(track, slo=0.5, price=2.0)
    usual, other = tracks.scene(track).policy, tracks.scene(changed).policy
    assert changed.digest != track.digest
    assert [p.slo.ttft for p in other.profiles] == [p.slo.ttft / 2 for p in usual.profiles]
    ratios = {
        v.accelerator: v.cost_per_replica_hour / usual.variant(v.name).cost_per_replica_hour for v in other.variants
    }
    assert ratios == {"L40S": 1.0, "A100-SXM-80GB": 1.0, "H200-SXM": 2.0}


def test_a_change_of_ours_asks_for_ours_alone() -> None:
    ours, others = flights.modules(ours=True), flights.modules(ours=False)
    only = {file.relative_to(ROOT).as_posix() for file in ours - others}
    assert others < ours
    assert {"autoscaler/decider.py", "autoscaler/plan/planner.py", "autoscaler/forecast/room.py"} <= only
    assert not any(
        file.startswith(("autoscaler/simulate", "autoscaler/backtest", "autoscaler/domain/po")) for file in only
    )


def test_no_cell_of_others_is_decided_by_ours() -> None:
    (track,) = (track for track in tracks.development() if track.name == "rag-burst")
    for name, player in {**CONTENDERS, **ABLATED}.items():
        decides = player.decider(tracks.scene(track), 60.0, player.knob.default)
        cell = flights.Cell(Flight(name, 60.0, 0, player.knob.default), track)
        assert isinstance(decides, Decider) == cell.ours, name
