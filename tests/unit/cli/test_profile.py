"""``profile fit | show | compare | estimate``: what they print, and what they say of input that cannot be."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.cli import profile_fit
from autoscaler.cli.app import main
from autoscaler.domain.pool import Role
from autoscaler.performance.profile import load_profile, parse_profile
from tests import command

ROOT = Path(__file__).resolve().parents[3]
GRID = ROOT / "benchmarks" / "data" / "h200-vllm-0.26-qwen3-32b-tp1.json"
POLICY = ROOT / "examples" / "h200_pd" / "policy.yaml"
SHIPPED = "h200-tp1-qwen3-32b"
ENGINE = ("--name", "mine", "--model", "Qwen/Qwen3-32B", "--accelerator", "H200-SXM")


run = functools.partial(command.run, "profile")


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = run(*arguments)
    told = capsys.readouterr()
    assert code == 0, told.err
    return told.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return what stderr says of input that is an error."""
    assert run(*arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return told.err


def changed(tmp_path: Path, **fields: Any) -> Path:  # noqa: ANN401 - any JSON
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(json.loads(GRID.read_text(encoding="utf-8")) | fields), encoding="utf-8")
    return path


def test_a_grid_is_fitted_and_what_is_printed_loads(capsys: pytest.CaptureFixture[str]) -> None:
    made = parse_profile(printed(capsys, "fit", GRID, *ENGINE), "made")
    shipped = load_profile(SHIPPED)
    assert made.model.step == shipped.model.step
    assert made.provenance.kind == "measured"
    assert made.valid == shipped.valid


def test_what_a_grid_does_not_hold_is_told_to_be_physics(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = parse_profile(printed(capsys, "fit", changed(tmp_path, prefill=[]), *ENGINE), "made")
    assert made.provenance.source == "grid.json; prefill derived by physics"
    assert made.valid.prompt_tokens is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({"decode": [], "prefill": []}, "the grid is empty", id="empty"),
        pytest.param(
            {"decode": [{"batch": 1, "ctx": 100, "itl_s": 20.0}]},
            "decode[0].itl_s: 20 cannot be; expected above 0.0001 and at most 5; are these milliseconds?",
            id="an ITL of 20 s",
        ),
        pytest.param(
            {"decode": [{"batch": 1, "ctx": 100, "itl_s": float("nan")}]},
            "decode[0].itl_s: nan is not a measurement; leave the row out",
            id="not a number",
        ),
        pytest.param(
            {"decode": [{"batch": 1, "ctx": 100}]}, "decode[0].itl_s: a number is expected, not None", id="absent"
        ),
        pytest.param({"decode": [{"batch": 1, "ctx": 100, "itl_s": 0.02}]}, "3 different points", id="one point"),
        pytest.param({"prefill": [{"tokens": -5, "ttft_s": 0.02}]}, "prefill[0].tokens: -5 cannot be", id="negative"),
        pytest.param({"decode": "none"}, "decode: a list of objects is expected", id="no list"),
    ],
)
def test_points_that_cannot_be_are_refused_by_file_and_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    path = changed(tmp_path, **fields)
    complaint = refused(capsys, "fit", path, *ENGINE)
    assert told in complaint
    assert str(path) in complaint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("{", "not a JSON file that can be read", id="broken"),
        pytest.param("[]", "a JSON object is expected, not list", id="a list"),
        pytest.param('{"a": 1}', "neither a grid, nor of vllm bench serve, nor of GuideLLM (it has a)", id="other"),
        pytest.param('{"benchmarks": []}', "the report is empty", id="an empty report"),
        pytest.param("\xff", "not a JSON file that can be read", id="no text"),
    ],
)
def test_files_that_are_no_benchmarks_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    assert told in refused(capsys, "fit", path, *ENGINE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give benchmark files, or --prometheus"),
        ((GRID, "--prometheus", "http://nowhere"), "give benchmark files, or --prometheus"),
        ((GRID,), "--model and --accelerator say what the figures are of"),
        ((GRID, "--model", "Qwen/Qwen3-32B", "--accelerator", "H300"), "H300"),
        ((GRID, "--model", "Qwen/Qwen9", "--accelerator", "H200-SXM"), "Qwen/Qwen9"),
        (("--prometheus", "http://nowhere"), "--prometheus needs --policy and --variant"),
        (
            ("--prometheus", "http://nowhere", "--policy", POLICY, "--variant", "decode"),
            '--variant: llm/qwen3-32b has no "decode"; it has prefill-h200, decode-h200',
        ),
        (
            ("--prometheus", "http://nowhere", "--policy", POLICY, "--variant", "decode-h200", "--pods", "d("),
            "--pods: 'd(' is no regular expression",
        ),
        (
            ("--prometheus", "http://nowhere", "-p", POLICY, "--variant", "decode-h200", "--from", "50", "--to", "20"),
            "--from 50 --to 20: between 15 s and",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_options_that_contradict_each_other_are_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], told: str
) -> None:
    assert told in refused(capsys, "fit", *arguments, "--name", "mine")


def test_show_tells_figures_and_draws_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.png"
    shown = json.loads(printed(capsys, "show", SHIPPED, "--data", GRID, "--plot", picture, "--output", "json"))
    assert shown["roles"] == ["prefill", "decode", "unified"]
    assert shown["itl_s"]["1"] < shown["itl_s"]["128"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_profile_of_one_role_is_drawn_without_the_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    decode_only = tmp_path / "decode.yaml"
    body = yaml.safe_load(
        printed(capsys, "estimate", "--physics", "--model", "Qwen/Qwen3-32B", "--accelerator", "B200")
    )
    decode_only.write_text(yaml.safe_dump({**body, "roles": ["decode"], "prefill": None}), encoding="utf-8")
    picture = tmp_path / "curves.svg"
    printed(capsys, "show", decode_only, "--plot", picture)
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")


@pytest.mark.parametrize(
    ("plot", "told"),
    [("curves.txt", "curves are drawn as .png or .svg"), ("nowhere/curves.png", "there is no folder")],
)
def test_a_picture_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, plot: str, told: str
) -> None:
    assert told in refused(capsys, "show", SHIPPED, "--plot", tmp_path / plot)


def test_compare_sets_profiles_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    both = json.loads(printed(capsys, "compare", SHIPPED, "h200-tp1-llama-3.1-8b", "--output", "json"))
    assert [each["name"] for each in both] == [SHIPPED, "h200-tp1-llama-3.1-8b"]
    assert both[0]["itl_s"]["32"] > both[1]["itl_s"]["32"]
    assert "no such file, and none ships by this name" in refused(capsys, "compare", SHIPPED, "mine.yaml")


def test_an_estimate_says_by_what(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "estimate", "--physics", "--model", "Qwen/Qwen3-32B", "--accelerator", "B200")
    made = parse_profile(text, "made")
    assert text.startswith("# by physics prior")
    assert made.provenance.kind == "derived"
    assert "H300" in refused(capsys, "estimate", "--model", "Qwen/Qwen3-32B", "--accelerator", "H300")


def test_a_profile_of_another_role_is_refused_where_a_policy_names_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = printed(capsys, "estimate", "--physics", "--model", "Qwen/Qwen3-32B", "--accelerator", "H200-SXM")
    prefill = tmp_path / "prefill.yaml"
    prefill.write_text(yaml.safe_dump({**yaml.safe_load(text), "roles": ["prefill"]}), encoding="utf-8")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.read_text(encoding="utf-8").replace(SHIPPED, str(prefill)), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(("recommend", "--policy", str(policy), "--prometheus", "http://127.0.0.1:9"))
    assert "is for prefill, not for decode" in capsys.readouterr().err


def test_the_pods_of_a_variant_are_those_of_its_target() -> None:
    past = profile_fit.past_of(POLICY, "decode-h200", "", None, None)
    assert past.variant.role is Role.DECODE
    assert past.pods.fullmatch("qwen-decode-5d9c-x7k2p")
    assert not past.pods.fullmatch("qwen-prefill-5d9c-x7k2p")
    assert past.end - past.begin == pytest.approx(86_400.0)
