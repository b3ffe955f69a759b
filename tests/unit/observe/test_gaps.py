"""What is absent, stale, partial, contradictory or no number is Missing with its reason; nothing reads as 0."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing, is_present, known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import catalogue
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.fleet import FleetSource
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.scrape import Target
from tests import observing
from tests.observing import Page, target

WINDOWS = Windows(fast=Seconds(60.0), long=Seconds(300.0))
POLICY = observing.policy(*observing.BY_FAIRNESS)
RATES = {"rag": 3.0, "reasoning": 1.0, "someone": 0.5}
END = 1400.0

Pages = dict[Target, Page]


def engines(until: float = 1e9, *, rate: float = 4.5) -> Pages:
    """Return the pages of one prefill and one decode pod that answer until some seconds after the start."""

    def page(role: Role) -> Page:
        return lambda seconds: observing.engine(seconds, role, rate) if seconds <= until else None

    return {target("p0", "prefill"): page(Role.PREFILL), target("d0", "decode"): page(Role.DECODE)}


def picker(rates: Mapping[str, float], until: float = 1e9, per_response: float = 1.0) -> Pages:
    """Return the page of one picker."""
    return {target("epp-0"): lambda s: observing.picker(s, rates, per_response=per_response) if s <= until else None}


def look(
    pages: Mapping[Target, Page],
    *,
    at: float = END,
    fleet: FleetSource | None = None,
    policy: SLOPolicy = POLICY,
) -> Observation:
    source = observing.filled(WINDOWS, pages, END)
    observer = ClusterObserver((policy,), source, fleet or observing.one_each(policy.key))
    return asyncio.run(observer.observe(Instant(at)))


def model(observation: Observation) -> ModelObservation:
    return observation.models[POLICY.key]


def reason(signal: object) -> GapReason | None:
    return signal.reason if isinstance(signal, Missing) else None


def subjects(observation: Observation, signal: str) -> Sequence[str]:
    return sorted(gap.subject for gap in observation.gaps if gap.signal == signal)


def test_a_healthy_cluster_has_no_gap() -> None:
    seen = look({**picker(RATES), **engines()})
    assert seen.gaps == ()
    loads = model(seen).loads
    assert known(loads["rag"].requests_per_second, -1.0) == pytest.approx(3.0)
    assert known(loads["rag"].prompt_tokens_per_second, -1.0) == pytest.approx(3000.0)
    assert known(loads["rag"].uncached_prompt_tokens_per_second, -1.0) == pytest.approx(2250.0)
    assert known(loads["rag"].output_tokens_per_second, -1.0) == pytest.approx(300.0)
    assert known(loads["default"].requests_per_second, -1.0) == pytest.approx(0.5)
    assert known(model(seen).unmatched_share, -1.0) == pytest.approx(0.5 / 4.5)


def test_nothing_at_all_is_absent() -> None:
    seen = look({})
    for load in model(seen).loads.values():
        assert reason(load.requests_per_second) is GapReason.ABSENT
        assert reason(load.uncached_prompt_tokens_per_second) is GapReason.ABSENT
        assert reason(load.ttft) is GapReason.ABSENT
    assert subjects(seen, "engine") == ["d0", "p0"]
    assert subjects(seen, "engines") == ["llm/h200/decode", "llm/h200/prefill"]


def test_a_profile_without_requests_is_zero_while_its_picker_is_fresh() -> None:
    loads = model(look({**picker({"rag": 3.0}), **engines(rate=3.0)})).loads
    assert loads["reasoning"].requests_per_second == 0.0
    assert loads["reasoning"].uncached_prompt_tokens_per_second == 0.0
    assert reason(loads["reasoning"].ttft) is GapReason.NOT_A_NUMBER
    assert reason(loads["reasoning"].prompt_tokens) is GapReason.NOT_A_NUMBER


def test_a_picker_that_falls_silent_is_absent_and_not_replaced_by_what_is_served() -> None:
    seen = look({**picker(RATES, until=380.0), **engines()})
    assert reason(model(seen).loads["rag"].requests_per_second) is GapReason.ABSENT
    assert reason(model(seen).unmatched_share) is GapReason.ABSENT


def test_a_picker_without_staleness_markers_is_stale() -> None:
    """Scrapes that stop without a trace (the scraper itself is down) leave old samples behind."""
    pages = {**picker(RATES), **engines()}
    seen = look(pages, at=END + 90.0)
    stale = model(seen).loads["rag"].requests_per_second
    assert isinstance(stale, Missing)
    assert (stale.reason, stale.since) == (GapReason.STALE, END)
    assert reason(model(seen).engines["p0"].running) is GapReason.STALE


def test_a_gap_is_dated_by_the_last_good_look() -> None:
    source = observing.filled(WINDOWS, {**picker(RATES, until=380.0), **engines()}, END)
    observer = ClusterObserver((POLICY,), source, observing.one_each())

    async def looks() -> list[Observation]:
        return [await observer.observe(Instant(at)) for at in (1370.0, 1385.0, 1400.0)]

    last = model(asyncio.run(looks())[-1]).loads["rag"].requests_per_second
    assert isinstance(last, Missing)
    assert last.since == 1370.0


def test_a_silent_ready_pod_makes_totals_partial() -> None:
    fleet = observing.Fleet(
        POLICY.key, {"prefill": observing.pods("prefill", "p0", "p1"), "decode": observing.pods("decode", "d0")}
    )
    seen = look({**picker(RATES), **engines()}, fleet=fleet)
    load = model(seen).loads["rag"]
    assert known(load.requests_per_second, -1.0) == pytest.approx(3.0)  # the picker saw every request
    assert reason(load.uncached_prompt_tokens_per_second) is GapReason.PARTIAL  # a hit rate of half a pool is none
    assert subjects(seen, "engines") == ["llm/h200/prefill"]
    assert reason(model(seen).engines["p1"].running) is GapReason.ABSENT


def test_a_pod_that_just_became_ready_may_be_silent_until_its_first_scrape() -> None:
    young = observing.pods("prefill", "p1", since=END - 10.0)
    fleet = observing.Fleet(
        POLICY.key,
        {"prefill": (*observing.pods("prefill", "p0"), *young), "decode": observing.pods("decode", "d0")},
    )
    seen = look({**picker(RATES), **engines()}, fleet=fleet)
    assert subjects(seen, "engines") == []
    assert is_present(model(seen).loads["rag"].uncached_prompt_tokens_per_second)


def test_series_of_pods_that_are_gone_do_not_count() -> None:
    gone = {target("p9", "prefill"): lambda s: observing.engine(s, Role.PREFILL, 9.0)}
    policy = observing.policy()
    seen = look({**engines(), **gone}, policy=policy)
    load = seen.models[policy.key].loads["default"]
    assert known(load.requests_per_second, -1.0) == pytest.approx(4.5)


def test_without_a_picker_the_offered_load_counts_what_piles_up() -> None:
    def page(seconds: float) -> str:
        return observing.engine(seconds, Role.PREFILL, 4.5, waiting=2.0 * seconds)

    seen = look({**engines(), target("p0", "prefill"): page})
    load = model(seen).loads["default"]
    assert known(load.requests_per_second, -1.0) == pytest.approx(6.5, rel=0.01)
    assert known(load.output_tokens_per_second, -1.0) == pytest.approx(650.0, rel=0.01)
    assert known(model(seen).unmatched_share, -1.0) == 1.0
    assert set(load.inferred) == {"prompt_tokens", "output_tokens", "ttft", "itl"}
    assert is_present(load.ttft)
    assert load.ttft.mean_s == pytest.approx(0.65)  # means of prefill and decode add up


def test_a_label_typo_is_a_gap_and_no_zero() -> None:
    typo = {
        Target({"namespace": "llm", "pod": "p0", "llm_d_ai_role": "prefil"}): lambda s: observing.engine(
            s, Role.PREFILL, 4.5
        )
    }
    counts = observing.Fleet(
        POLICY.key,
        {"prefill": observing.pods("prefill", "a"), "decode": observing.pods("decode", "b")},
        names_pods=False,
    )
    seen = look(typo, fleet=counts)
    assert reason(model(seen).loads["default"].requests_per_second) is GapReason.ABSENT


def test_token_histograms_that_count_chunks_are_not_believed() -> None:
    """Through v0.10.0 the picker observes tokens once per chunk with usage: here 146 times a response."""
    seen = look({**picker(RATES, per_response=146.0), **engines()})
    load = model(seen).loads["rag"]
    assert {"prompt_tokens", "output_tokens"} <= set(load.inferred)
    assert known(load.prompt_tokens_per_second, -1.0) == pytest.approx(3000.0)
    assert known(load.output_tokens_per_second, -1.0) == pytest.approx(300.0)


def test_engines_that_finish_more_than_the_picker_sends_contradict_it() -> None:
    seen = look({**picker({"rag": 0.5}), **engines(rate=4.5)})
    assert reason(model(seen).loads["rag"].requests_per_second) is GapReason.INCONSISTENT


def test_working_off_a_queue_is_no_contradiction() -> None:
    def page(seconds: float) -> str:
        return observing.engine(seconds, Role.PREFILL, 4.5, waiting=max(0.0, 2000.0 - 4.5 * seconds))

    seen = look({**picker({"rag": 0.5}), **engines(), target("p0", "prefill"): page})
    assert known(model(seen).loads["rag"].requests_per_second, -1.0) == pytest.approx(0.5)


def test_no_number_is_not_taken_for_a_number() -> None:
    def page(seconds: float) -> str:
        text = observing.engine(seconds, Role.PREFILL, 4.5)
        return text.replace('usage_perc{model_name="m",engine="0"} 0.5', 'usage_perc{model_name="m",engine="0"} NaN')

    seen = look({**picker(RATES), **engines(), target("p0", "prefill"): page})
    assert reason(model(seen).engines["p0"].kv_use_ratio) is GapReason.NOT_A_NUMBER


def test_a_target_scraped_twice_counts_once() -> None:
    twice = {
        Target({"namespace": "llm", "pod": "p0", "llm_d_ai_role": "prefill", "port": "8200"}): (
            lambda s: observing.engine(s, Role.PREFILL, 4.5)
        )
    }
    once = model(look({**picker(RATES), **engines()})).engines["p0"]
    assert observing.differences(model(look({**picker(RATES), **engines(), **twice})).engines["p0"], once) == []


def test_a_restarted_engine_loses_no_more_than_its_counters() -> None:
    def page(seconds: float) -> str:
        return observing.engine(seconds % 390.0, Role.PREFILL, 4.5)

    load = model(look({**picker(RATES), **engines(), target("p0", "prefill"): page})).engines["p0"]
    assert known(load.prompt_tokens_per_second, -1.0) == pytest.approx(4500.0, rel=0.1)


def test_the_picker_under_both_generations_of_names_counts_once() -> None:
    def page(seconds: float) -> str:
        return observing.picker(seconds, {"rag": 3.0}) + observing.picker(seconds, {"": 3.0}, old=True)

    loads = model(look({target("epp-0"): page, **engines(rate=3.0)})).loads
    assert known(loads["rag"].requests_per_second, -1.0) == pytest.approx(3.0)
    assert loads["default"].requests_per_second == 0.0


def test_several_pickers_add_up() -> None:
    pages = {**picker(RATES), target("epp-1"): lambda s: observing.picker(s, RATES)}
    load = model(look({**pages, **engines(rate=9.0)})).loads["rag"]
    assert known(load.requests_per_second, -1.0) == pytest.approx(6.0)


def test_a_picker_that_goes_stale_among_several_makes_the_sum_stale() -> None:
    """Its share of the requests would be missing from the sum, while the others are fresh."""
    source = observing.filled(WINDOWS, {**picker(RATES), **engines()}, END)
    for at in (END + 30.0, END + 60.0, END + 90.0):
        source.add(Instant(at), target("epp-1"), observing.picker(at - 1000.0, RATES))
        for page, text in engines().items():
            source.add(Instant(at), page, str(text(at - 1000.0)))
    observer = ClusterObserver((POLICY,), source, observing.one_each())
    load = model(asyncio.run(observer.observe(Instant(END + 90.0)))).loads["rag"]
    assert reason(load.requests_per_second) is GapReason.STALE


def test_a_picker_seen_once_says_nothing_about_rates() -> None:
    source = observing.filled(WINDOWS, engines(), END)
    source.add(Instant(END), target("epp-0"), observing.picker(400.0, RATES))
    observer = ClusterObserver((POLICY,), source, observing.one_each())
    load = model(asyncio.run(observer.observe(Instant(END)))).loads["rag"]
    assert reason(load.requests_per_second) is GapReason.ABSENT


def test_looking_at_the_past_sees_only_the_past() -> None:
    pages = {**picker(RATES, until=300.0), **engines()}
    assert is_present(model(look(pages, at=1250.0)).loads["rag"].requests_per_second)
    assert not is_present(model(look(pages, at=1350.0)).loads["rag"].requests_per_second)


@pytest.mark.parametrize(
    ("labels", "matchers", "counted"),
    [
        pytest.param({}, {}, True, id="no matcher"),
        pytest.param({"cluster": "eu"}, {"cluster": "eu"}, True, id="the asked cluster"),
        pytest.param({"cluster": "us"}, {"cluster": "eu"}, False, id="another cluster"),
        pytest.param({}, {"cluster": "eu"}, False, id="no cluster label"),
    ],
)
def test_matchers_of_a_policy_select_its_series(
    labels: Mapping[str, str], matchers: Mapping[str, str], *, counted: bool
) -> None:
    policy = observing.policy(metrics=observing.metrics("auto", **matchers))
    pages = {
        Target({**page.labels, **labels}): text for page, text in {**picker({"rag": 3.0}), **engines(rate=3.0)}.items()
    }
    source = observing.filled(WINDOWS, pages, END, keep=("cluster",))
    observer = ClusterObserver((policy,), source, observing.one_each())
    load = asyncio.run(observer.observe(Instant(END))).models[policy.key].loads["default"]
    assert is_present(load.requests_per_second) is counted


def test_an_exporter_that_froze_is_no_idle_pod() -> None:
    """Fresh samples, but the values of 100 s ago: without a picker this would read as no load."""

    def page(seconds: float) -> str:
        return observing.engine(min(seconds, 300.0), Role.PREFILL, 4.5)

    seen = look({**engines(), target("p0", "prefill"): page})
    assert reason(model(seen).engines["p0"].running) is GapReason.INCONSISTENT
    assert reason(model(seen).loads["default"].requests_per_second) is GapReason.INCONSISTENT


def test_gauges_of_the_picker_that_freeze_are_not_read() -> None:
    """Pool averages keep their last value when no endpoint answers; in-flight series outlive their pods."""
    names = " ".join(catalogue.series_names())
    assert not [
        word for word in ("average_", "inflight_", "ready_", "attempts_total", "prefix_cache_queries") if word in names
    ]


def with_outage(pages: Pages, begin: float, end: float) -> Pages:
    """Return pages that do not answer between two moments (s after the start)."""

    def gapped(page: Page) -> Page:
        return lambda seconds: None if begin < seconds < end else page(seconds)

    return {page: gapped(text) for page, text in pages.items()}


def rates_at(pages: Mapping[Target, Page], *moments: float, policy: SLOPolicy = POLICY) -> list[object]:
    """Return the requests/s of the first profile some seconds after the start."""
    profile = policy.profiles[0].name
    seen = (look(pages, at=1000.0 + moment, policy=policy) for moment in moments)
    return [each.models[policy.key].loads[profile].requests_per_second for each in seen]


@pytest.mark.parametrize(
    ("policy", "truth"),
    [
        pytest.param(POLICY, 3.0, id="counted by the picker"),
        pytest.param(observing.policy(metrics=observing.metrics("vllm")), 4.5, id="counted by the engines"),
    ],
)
def test_behind_an_outage_the_load_is_missing_until_a_window_is_whole(policy: SLOPolicy, truth: float) -> None:
    """At 300 s samples come again; over 60 s a rate would read a twelfth, a fourth, a half of the truth."""
    pages = with_outage({**picker(RATES), **engines()}, 200.0, 300.0)
    *early, late = rates_at(pages, 305.0, 315.0, 330.0, 345.0, 360.0, policy=policy)
    assert [reason(rate) for rate in early] == [GapReason.PARTIAL] * 4
    assert late == pytest.approx(truth)


def test_per_pod_rates_behind_an_outage_are_missing_and_what_is_a_ratio_is_not() -> None:
    engine = model(look(with_outage({**picker(RATES), **engines()}, 200.0, 300.0), at=1330.0)).engines["p0"]
    for rate in (engine.prompt_tokens_per_second, engine.requests_per_second, engine.computed_prompt_tokens_per_second):
        assert reason(rate) is GapReason.PARTIAL
    assert known(engine.prefill_mean_s, -1.0) == pytest.approx(0.3)
    assert known(engine.running, -1.0) == 4.0


def test_when_scrapes_stop_the_load_is_stale_before_it_reads_low() -> None:
    """The last samples are of 400 s; Prometheus' rate over 60 s would say 3.0, 2.6, 1.9."""
    pages = {**picker(RATES), **engines()}
    fresh, *later = rates_at(pages, 404.0, 415.0, 430.0, 455.0)
    assert fresh == pytest.approx(3.0)
    assert [reason(rate) for rate in later] == [GapReason.STALE] * 3


def test_an_outage_longer_than_anything_remembered_is_told_by_the_age_of_the_pods() -> None:
    """A picker without samples before the window might be new; ready pods that nobody scraped either tell otherwise."""
    pages = {page: (lambda s, text=text: text(s) if s >= 380.0 else None) for page, text in picker(RATES).items()}
    pages |= {page: (lambda s, text=text: text(s) if s >= 380.0 else None) for page, text in engines().items()}
    (rate,) = rates_at(pages, 400.0)
    assert reason(rate) is GapReason.PARTIAL


def test_a_picker_that_is_new_counts_from_its_begin() -> None:
    def started(seconds: float) -> str | None:
        return observing.picker(seconds - 380.0, RATES) if seconds >= 380.0 else None

    (rate,) = rates_at({target("epp-0"): started, **engines(rate=1.5)}, 400.0)
    assert known(rate, -1.0) == pytest.approx(1.0, rel=0.15)  # 20 of 60 s


def test_a_pod_that_is_new_does_not_blind_the_others() -> None:
    def started(seconds: float) -> str | None:
        return observing.engine(seconds - 380.0, Role.PREFILL, 4.5) if seconds >= 380.0 else None

    fleet = observing.Fleet(
        POLICY.key,
        {
            "prefill": (*observing.pods("prefill", "p0"), *observing.pods("prefill", "p1", since=1378.0)),
            "decode": observing.pods("decode", "d0"),
        },
    )
    policy = observing.policy(metrics=observing.metrics("vllm"))
    seen = look({**engines(), target("p1", "prefill"): started}, fleet=fleet, policy=policy).models[policy.key]
    assert is_present(seen.loads["default"].requests_per_second)
    assert is_present(seen.engines["p1"].requests_per_second)


def test_a_pod_that_missed_scrapes_among_many_takes_away_its_own_rates_only() -> None:
    many = {target(f"p{n}", "prefill"): page for n in range(9) for page in [engines()[target("p0", "prefill")]]}
    missed = with_outage({target("p9", "prefill"): many[target("p0", "prefill")]}, 330.0, 375.0)
    names = [f"p{n}" for n in range(10)]
    fleet = observing.Fleet(
        POLICY.key, {"prefill": observing.pods("prefill", *names), "decode": observing.pods("decode", "d0")}
    )
    policy = observing.policy(metrics=observing.metrics("vllm"))
    decode = {target("d0", "decode"): engines()[target("d0", "decode")]}
    seen = look({**many, **missed, **decode}, fleet=fleet, policy=policy).models[policy.key]
    assert known(seen.loads["default"].requests_per_second, -1.0) == pytest.approx(45.0, rel=0.1)
    assert reason(seen.engines["p9"].requests_per_second) is GapReason.PARTIAL
    assert is_present(seen.engines["p0"].requests_per_second)
