"""Every way in which metrics go wrong is produced here, and found by the check that is there for it."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from autoscaler.domain.fleet import PodState
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.doctor import look
from autoscaler.observe.doctor.findings import Checked, MetricsLook, Series
from autoscaler.observe.doctor.metrics import CHECKS
from autoscaler.observe.files import NoFleet
from autoscaler.observe.fleet import FleetSource
from autoscaler.observe.scrape import MemorySource, Target
from tests import observing
from tests.observing import BY_FAIRNESS, Fleet, Page, engine, picker, target

RATES = {"rag": 2.0, "reasoning": 1.0, "default-flow": 1.0}
UNTIL = 300.0
PICKER = Target({"namespace": "llm", "pod": "epp"})
PREFILL, DECODE = target("p0", "prefill"), target("d0", "decode")


def healthy_pages() -> dict[Target, Page]:
    return {
        PICKER: lambda s: picker(s, RATES),
        PREFILL: lambda s: engine(s, Role.PREFILL, 4.0),
        DECODE: lambda s: engine(s, Role.DECODE, 4.0),
    }


@dataclass
class World:
    """A healthy set-up, of which a test spoils one thing."""

    policy: SLOPolicy = field(default_factory=lambda: observing.policy(*BY_FAIRNESS))
    pages: dict[Target, Page] = field(default_factory=healthy_pages)
    fleet: FleetSource = field(default_factory=observing.one_each)
    windows: Windows = field(default_factory=lambda: Windows(fast=Seconds(60.0)))
    interval: float = 15.0
    quiet_after: Mapping[Target, float] = field(default_factory=dict)

    def look(self) -> MetricsLook:
        source = MemorySource((), self.windows, keep=[label for label, _ in self.policy.metrics.matchers])
        for n in range(int(UNTIL / self.interval) + 1):
            seconds = n * self.interval
            for page, text in self.pages.items():
                shown = text(seconds) if seconds <= self.quiet_after.get(page, UNTIL) else None
                if shown is not None:
                    source.add(Instant(1000.0 + seconds), page, shown)
        return asyncio.run(look.at_metrics([self.policy], source, self.fleet, Instant(1000.0 + UNTIL)))


def examined(policy: SLOPolicy, seen: MetricsLook) -> dict[str, Checked]:
    return {check.name: check.of(policy, seen) for check in CHECKS}


def found(world: World) -> dict[str, str]:
    """Return everything found, as one text by check."""
    checked = examined(world.policy, world.look())
    return {
        name: "; ".join(f"{f.subject}: {f.found} -> {f.fix}" for f in one.findings)
        for name, one in checked.items()
        if one.findings
    }


def test_nothing_is_found_on_a_healthy_set_up_and_every_check_says_what_it_looked_at() -> None:
    world = World()
    assert found(world) == {}
    checked = examined(world.policy, world.look())
    assert all(one.looked_at for one in checked.values())
    assert {name for name, one in checked.items() if one.skipped} == {"metrics-matchers", "picker-members"}


Spoil: TypeAlias = Callable[[World], object]


def other_namespace(world: World) -> None:
    world.pages = {Target({**dict(t.labels), "namespace": "staging"}): page for t, page in world.pages.items()}


def other_model(world: World) -> None:
    world.policy = observing.policy(*BY_FAIRNESS, model="Qwen/Qwen3-32B")


def no_engines(world: World) -> None:
    del world.pages[PREFILL], world.pages[DECODE]


def no_picker(world: World) -> None:
    del world.pages[PICKER]


def old_picker(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, RATES, old=True)


def no_pod_label(world: World) -> None:
    world.pages[Target({"namespace": "llm", "llm_d_ai_role": "decode"})] = world.pages.pop(DECODE)


def rank_in_pod_label(world: World) -> None:
    world.pages[target("d0-rank-0", "decode")] = world.pages.pop(DECODE)


def wrong_role(world: World) -> None:
    world.pages[target("d0", "prefill")] = world.pages.pop(DECODE)


def nobody_tells_roles(world: World) -> None:
    world.fleet = NoFleet([world.policy])
    world.pages[target("d0")] = world.pages.pop(DECODE)


def scraped_on_both_ports(world: World) -> None:
    def page(seconds: float) -> str:
        text = engine(seconds, Role.DECODE, 4.0)
        return "".join(text.replace('engine="0"', f'engine="0",instance="10.0.0.7:{port}"') for port in (8000, 8200))

    world.pages[DECODE] = page


def engine_went_quiet(world: World) -> None:
    world.quiet_after = {DECODE: 180.0}


def picker_went_quiet(world: World) -> None:
    world.quiet_after = {PICKER: 180.0}


def short_window(world: World) -> None:
    world.windows = Windows(fast=Seconds(45.0))


def rare_scrapes(world: World) -> None:
    world.interval, world.windows = 50.0, Windows(fast=Seconds(200.0))


def pod_without_series(world: World) -> None:
    world.fleet = Fleet(
        "llm/h200", {"prefill": observing.pods("prefill", "p0"), "decode": observing.pods("decode", "d0", "d1")}
    )


def series_without_pod(world: World) -> None:
    world.pages[target("d9", "decode")] = lambda s: engine(s, Role.DECODE, 1.0)


def match_never_seen(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, {"rag": 2.0, "reasonign": 1.0, "default-flow": 1.0})


def nearly_nothing_matches(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, {"rag": 0.1, "reasoning": 0.1, "default-flow": 3.8})


def too_many_label_values(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, {**RATES, "other": 1.0})


def usage_in_every_chunk(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, RATES, per_response=20.0)


def usage_seldom(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, RATES, per_response=0.3)


def nobody_streams(world: World) -> None:
    world.pages[PICKER] = lambda s: picker(s, RATES).replace('streaming="true"', 'streaming="false"')


def handover_broken(world: World) -> None:
    world.pages[DECODE] = lambda s: (
        engine(s, Role.DECODE, 4.0)
        .replace("external_kv_transfer", "elsewhere")
        .replace("local_compute", "external_kv_transfer")
        .replace("elsewhere", "local_compute")
    )


def traffic_passes_the_picker_by(world: World) -> None:
    world.pages[PREFILL] = lambda s: engine(s, Role.PREFILL, 40.0)


def matcher_of_another_cluster(world: World) -> None:
    world.policy = observing.policy(*BY_FAIRNESS, metrics=observing.metrics("auto", cluster="eu-1"))


def old_vllm(world: World) -> None:
    world.pages[DECODE] = lambda s: engine(s, Role.DECODE, 4.0).replace("kv_cache_usage_perc", "gpu_cache_usage_perc")


def no_sources(world: World) -> None:
    for page, role in ((PREFILL, Role.PREFILL), (DECODE, Role.DECODE)):
        world.pages[page] = lambda s, role=role: engine(s, role, 4.0).replace("prompt_tokens_by_source", "dropped")  # type: ignore[misc]


def no_kv_size(world: World) -> None:
    world.pages[DECODE] = lambda s: engine(s, Role.DECODE, 4.0).replace("cache_config_info", "dropped_info")


SEEDED: tuple[tuple[Spoil, str, str], ...] = (
    (other_namespace, "engine-series", "carry namespace staging"),
    (other_namespace, "picker-series", "carry namespace staging"),
    (other_model, "engine-series", "served model names are m, not Qwen/Qwen3-32B"),
    (other_model, "picker-series", "served model names are m, not Qwen/Qwen3-32B"),
    (no_engines, "engine-series", "none in any namespace"),
    (no_picker, "picker-series", "none in any namespace"),
    (old_picker, "picker-generation", "profile rag: matches by fairnessID"),
    (no_pod_label, "pod-label", "1 engine series have none"),
    (rank_in_pod_label, "pod-label", "carries a rank: d0-rank-0"),
    (wrong_role, "role-label", "d0 says prefill, the policy decode"),
    (nobody_tells_roles, "role-label", "nothing tells the role of d0"),
    (scraped_on_both_ports, "scraped-once", "pod d0: is scraped at 10.0.0.7:8000, 10.0.0.7:8200"),
    (engine_went_quiet, "freshness", "pod d0: its newest sample is too old"),
    (picker_went_quiet, "freshness", "picker: newest picker sample is 120 s old"),
    (short_window, "scrape-interval", "holds fewer than 4 scrapes"),
    (rare_scrapes, "scrape-interval", "every 50 s: load is seen 200 s late"),
    (pod_without_series, "pods-join", "pods without series: d1"),
    (series_without_pod, "pods-join", "series without pod: d9"),
    (
        match_never_seen,
        "profiles",
        "match.fairnessID 'reasoning' was never seen; seen are default-flow, rag, reasonign",
    ),
    (nearly_nothing_matches, "profiles", "95% of requests match no profile"),
    (too_many_label_values, "profiles", "limit of values is reached"),
    (usage_in_every_chunk, "token-usage", "20.0 a response: every chunk is counted"),
    (usage_seldom, "token-usage", "only 30% of the responses tell their usage"),
    (nobody_streams, "streaming", "no request streams"),
    (handover_broken, "kv-handover", "100% of their prompt tokens are computed there"),
    (traffic_passes_the_picker_by, "demand-signal", "no demand signal, inconsistent"),
    (matcher_of_another_cluster, "metrics-matchers", "'eu-1' was never seen; seen is no value at all"),
    (old_vllm, "engine-version", "names that ended with 0.11"),
    (no_sources, "engine-version", "does not tell the sources of prompt tokens"),
    (no_kv_size, "engine-version", "KV size: not told by d0"),
)


@pytest.mark.parametrize(
    ("spoil", "check", "words"), SEEDED, ids=[f"{spoil.__name__}: {check}" for spoil, check, _ in SEEDED]
)
def test_every_seeded_mistake_is_found_with_a_way_out(spoil: Spoil, check: str, words: str) -> None:
    world = World()
    spoil(world)
    told = found(world)
    assert words in told.get(check, ""), told
    assert " -> " in told[check]
    assert not told[check].endswith("-> ")


@pytest.mark.parametrize(
    ("name", "engine_name"),
    [("sglang:num_running_reqs", "SGLang"), ("trtllm_num_requests_running", "TensorRT-LLM")],
    ids=["SGLang", "TensorRT-LLM"],
)
def test_engines_of_another_kind_are_named(name: str, engine_name: str) -> None:
    world = World()
    seen = dataclasses.replace(world.look(), series=(Series(name, {"namespace": "llm", "model_name": "m"}),))
    (finding,) = examined(world.policy, seen)["engine-series"].findings
    assert f"series of {engine_name}" in finding.found


@pytest.mark.parametrize("label", ["model_server_endpoint", "model_server_pod"])
def test_a_pod_that_the_picker_does_not_know_is_found(label: str) -> None:
    world = World()
    seen = world.look()
    name = "llm_d_epp_per_endpoint_queue_size"
    endpoints = [Series(name, {"namespace": "llm", label: f"llm/{pod}-rank-0"}) for pod in ("p0", "d0")]
    whole = dataclasses.replace(seen, series=(*seen.series, *endpoints))
    assert not examined(world.policy, whole)["picker-members"].findings
    lacking = dataclasses.replace(seen, series=(*seen.series, *endpoints[:1]))
    (finding,) = examined(world.policy, lacking)["picker-members"].findings
    assert finding.found == "d0"


def test_a_query_that_fails_is_found() -> None:
    world = World()
    refused = Missing(GapReason.UNREACHABLE, Instant(0.0), "60000 series, at most 50000 are read")
    seen = dataclasses.replace(world.look(), failures={"ttft_bucket": refused})
    (finding,) = examined(world.policy, seen)["queries"].findings
    assert finding.subject == "ttft_bucket"
    assert "60000 series" in finding.found


def test_a_pod_that_starts_is_no_pod_without_series() -> None:
    world = World()
    starting = observing.pods("decode", "d1", state=PodState.STARTING)
    pods = (*observing.pods("decode", "d0"), *starting)
    world.fleet = Fleet("llm/h200", {"prefill": observing.pods("prefill", "p0"), "decode": pods})
    assert "pods-join" not in found(world)
