"""The status page: shows what happened, cannot be broken out of, needs no script; in a real browser too."""

import asyncio
import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry

from autoscaler.cli.server import serving
from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import ModelPlan, Plan, VariantPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.record import Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.publish import page
from autoscaler.publish.board import DECISIONS, POINTS, WINDOW, Board
from autoscaler.publish.health import Health
from autoscaler.settings import Server
from tests import planning

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def filled(policies: Sequence[SLOPolicy], records: Sequence[TickRecord]) -> Board:
    board = Board(policies)

    async def publish() -> None:
        for record in records:
            await board.publish(record)

    asyncio.run(publish())
    return board


def tick(at: float, wanted: int, ready: int | None = 1, key: str = "llm/model") -> TickRecord:
    found = Missing(GapReason.ABSENT, Instant(at)) if ready is None else planning.workload("decode", ready)
    observed = ModelObservation(key, {}, {"decode": found}, {}, 0.0)
    plan = ModelPlan(key, {"decode": VariantPlan.of(wanted, Reason(Code.KV_FULL))})
    return TickRecord(Observation(Instant(at), {key: observed}), Plan(Instant(at), {key: plan}))


class Outline(HTMLParser):
    """Collects elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_shows_pools_slo_and_decisions_of_a_real_run(policy: SLOPolicy, records: list[TickRecord]) -> None:
    board = filled([policy], records)
    shown = page.page(board, "", Instant(records[-1].observation.at + 8.0))
    for word in ("llm/qwen3-32b", "prefill-h200", "decode-h200", "mode Recommend", "8 s ago", "TTFT kept", "dry-run"):
        assert word in shown
    assert Outline(shown).tags.count("svg") == 2
    assert "What is missing" not in shown


def test_without_a_tick_and_with_a_complaint() -> None:
    shown = page.page(Board([planning.policy()]), "no tick yet", Instant(0.0))
    assert "No tick yet" in shown
    assert "not ready" in shown


def test_whatever_a_name_or_an_error_holds_stays_text(policy: SLOPolicy, records: list[TickRecord]) -> None:
    last = records[-1]
    gap = Gap(HOSTILE, HOSTILE, Missing(GapReason.STALE, Instant(0.0), HOSTILE), policy.key)
    observation = dataclasses.replace(last.observation, gaps=(gap,))
    spoilt = dataclasses.replace(last, observation=observation, failures=(StepFailure(Step.ACT, HOSTILE, HOSTILE),))
    hostile = dataclasses.replace(policy, model=HOSTILE)
    clean = Outline(page.page(filled([policy], [last]), "", Instant(0.0)))
    shown = page.page(filled([hostile], [spoilt]), HOSTILE, Instant(0.0), chosen=None)
    outline = Outline(shown)
    assert set(outline.tags) <= {*clean.tags, "table", "caption"}
    assert "<script" not in shown
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    asked = page.page(filled([policy], [last]), "", Instant(0.0), chosen=HOSTILE)
    assert set(Outline(asked).tags) <= set(clean.tags) | {"p"}


def test_the_page_needs_nothing_from_elsewhere_and_no_script(policy: SLOPolicy, records: list[TickRecord]) -> None:
    outline = Outline(page.page(filled([policy], records), "", Instant(0.0)))
    assert not {"script", "iframe", "object", "form", "img"} & set(outline.tags)
    addresses = [value for name, value in outline.attributes if name in {"href", "src"} and value]
    assert all(address.startswith(("/", "#", "data:,")) for address in addresses)
    assert not [name for name, _ in outline.attributes if name == "style"], "the policy forbids it"
    policy_header = page.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy_header
    assert "unsafe" not in policy_header
    assert "script-src" not in policy_header


def test_the_page_is_told_to_assistive_technology(policy: SLOPolicy, records: list[TickRecord]) -> None:
    outline = Outline(page.page(filled([policy], records), "", Instant(0.0)))
    attributes = set(outline.attributes)
    assert {("lang", "en"), ("scope", "col"), ("role", "img"), ("href", "#content"), ("id", "content")} <= attributes
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("caption") == outline.tags.count("table")


def test_many_policies_begin_with_a_list_and_each_has_its_page() -> None:
    policies = [dataclasses.replace(planning.policy(), name=f"model-{n}") for n in range(20)]
    record = tick(1000.0, 2, key="llm/model-7")
    board = filled(policies, [record])
    overview = page.page(board, "", Instant(1000.0))
    assert overview.count('href="/?policy=llm/model-') == 20
    assert "<svg" not in overview
    one = page.page(board, "", Instant(1000.0), chosen="llm/model-7")
    assert "<h2>llm/model-7</h2>" in one
    assert "model-8" not in one


def test_refreshing_is_a_choice() -> None:
    board = filled([planning.policy()], [tick(1000.0, 1)])
    assert 'http-equiv="refresh"' not in page.page(board, "", Instant(1000.0))
    assert 'http-equiv="refresh" content="15"' in page.page(board, "", Instant(1000.0), refresh=True)


def test_a_board_remembers_changes_not_ticks() -> None:
    policy = planning.policy(planning.variant(planning.policy().variants[1].role, name="decode"))
    board = filled([policy], [tick(15.0 * n, 2 if n < 50 else 3) for n in range(100)])
    points = board.points(policy.key, "decode")
    assert [(point.at, point.wanted) for point in points] == [(0.0, 2), (750.0, 3)]
    assert [(decision.before, decision.wanted) for decision in board.decisions] == [(2, 3), (None, 2)]


def test_a_board_is_bounded_however_long_it_runs_and_however_restless_it_is() -> None:
    policy = planning.policy(planning.variant(planning.policy().variants[1].role, name="decode"))
    board = filled([policy], [tick(15.0 * n, n % 2) for n in range(5000)])
    assert len(board.points(policy.key, "decode")) <= POINTS
    assert len(board.decisions) == DECISIONS
    quiet = filled([policy], [tick(0.0, 1), tick(10.0, 2), tick(WINDOW + 3600.0, 2), tick(WINDOW + 3615.0, 3)])
    assert [point.wanted for point in quiet.points(policy.key, "decode")] == [2, 3], (
        "the level that the window begins with"
    )


def test_an_unknown_count_is_a_gap_and_no_decision() -> None:
    policy = planning.policy(planning.variant(planning.policy().variants[1].role, name="decode"))
    board = filled([policy], [tick(0.0, 2), tick(15.0, 2, ready=None), tick(30.0, 2)])
    assert [point.ready for point in board.points(policy.key, "decode")] == [1, None, 1]
    assert len(board.decisions) == 1


def test_what_was_kept_of_a_policy_goes_with_it() -> None:
    policy = planning.policy(planning.variant(planning.policy().variants[1].role, name="decode"))
    board = filled([policy], [tick(0.0, 2)])
    board.follow([])
    assert board.points(policy.key, "decode") == ()
    assert "llm/model</h2>" not in page.page(board, "", Instant(0.0))


class Stopped:
    """A clock that stands still."""

    def __init__(self, at: Instant) -> None:
        self._at = at

    def now(self) -> Instant:
        return self._at

    async def sleep(self, duration: Seconds) -> None:
        await asyncio.sleep(duration)


def answered(board: Board, ask: Callable[[str], object]) -> None:
    """Serve a board and ask its server in a thread."""
    assert board.record is not None
    at = board.record.observation.at

    async def serve() -> None:
        health = Health(Seconds(60.0))
        server = Server("127.0.0.1", 0)
        async with serving(server, health, CollectorRegistry(), Stopped(at), board) as port:
            await asyncio.to_thread(ask, f"http://127.0.0.1:{port}")

    asyncio.run(serve())


def test_the_server_answers_page_and_data_with_strict_headers(policy: SLOPolicy, records: list[TickRecord]) -> None:
    def ask(url: str) -> None:
        answer = requests.get(f"{url}/", params={"policy": policy.key, "refresh": "1"}, timeout=5)
        assert answer.headers["Content-Security-Policy"] == page.HEADERS["Content-Security-Policy"]
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<h2>llm/qwen3-32b</h2>" in answer.text
        data = requests.get(f"{url}/status.json", timeout=5).json()
        assert not data["ready"]
        assert [v["name"] for v in data["policies"][0]["variants"]] == ["prefill-h200", "decode-h200"]
        assert {"at", "policy", "variant", "before", "wanted", "reasons", "codes", "result"} == set(
            data["decisions"][0]
        )

    answered(filled([policy], records), ask)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install the package chromium")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["desktop", "phone, dark"])
def test_a_browser_shows_it_with_style_and_without_complaint(
    policy: SLOPolicy, records: list[TickRecord], tmp_path: Path, width: int, *, dark: bool
) -> None:
    def ask(url: str) -> None:
        done = browse(
            f"{url}/", tmp_path, f"--window-size={width},1200", *(("--blink-settings=preferredColorScheme=0",) * dark)
        )
        complaints = re.findall(r"CONSOLE.*|.*Refused to.*|.*violates.*", done.stderr)
        assert not complaints
        shown = (tmp_path / "shot.png").read_bytes()
        assert shown.startswith(b"\x89PNG")
        assert len(shown) > 20_000, "a page without style is nearly white"

    answered(filled([policy], records), ask)


def browse(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'shot.png'}", "--hide-scrollbars"),
    ]
    return subprocess.run(  # noqa: S603 - a browser that was found on PATH, on a page of this test
        [*command, *options, url], capture_output=True, text=True, timeout=60, check=True
    )


def test_workloads_that_are_known_are_counted(policy: SLOPolicy, records: list[TickRecord]) -> None:
    data = page.status(filled([policy], records), "", Instant(0.0))
    assert isinstance(data, dict)
    fleet = records[-1].observation.models[policy.key].fleet.values()
    assert all(isinstance(workload, Workload) and workload.ready == 1 for workload in fleet)
    assert data["ready"] is True
