"""The figures that real recordings are known to hold, read through the catalogue."""

import asyncio
import gzip
import json

import pytest

from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import is_present, known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.recording import Recording, load_recording
from autoscaler.observe.samples import Row, Snapshot, slope, total
from tests import observing

STEP = Instant(1785724600.0)
LLAMA = "unsloth/Meta-Llama-3.1-8B-Instruct"


@pytest.fixture(scope="module")
def staircase() -> Recording:
    return load_recording(observing.DATA / "observe" / "staircase")


@pytest.fixture(scope="module")
def staircase_rows(staircase: Recording) -> Snapshot:
    return asyncio.run(staircase.source(Windows()).read(STEP))


@pytest.fixture(scope="module")
def saturated() -> Snapshot:
    """Return the H200 recording in its saturated phase."""
    return asyncio.run(load_recording(observing.RECORDING).source(Windows()).read(Instant(1795372160.0)))


def of(rows: tuple[Row, ...], **labels: str) -> float:
    found = total([row for row in rows if all(row.labels.get(name) == value for name, value in labels.items())])
    assert found is not None
    return found


def test_staircase_rates(staircase_rows: Snapshot) -> None:
    rows = staircase_rows.rows
    assert of(rows("requests")) == pytest.approx(12.20, abs=0.01)
    assert of(rows("finished")) == pytest.approx(7.69, abs=0.01)
    assert of(rows("prompts")) == pytest.approx(17_680, abs=1)
    assert of(rows("prompt_sources"), source="local_compute") == pytest.approx(15_725, abs=1)
    assert of(rows("generated")) == pytest.approx(4_083, abs=1)


def test_staircase_queue_and_cache(staircase_rows: Snapshot) -> None:
    rows = staircase_rows.rows
    assert (of(rows("waiting_capacity")), of(rows("waiting_deferred"))) == (617.0, 0.0)
    hits = of(rows("prompt_sources"), source="local_cache_hit")
    assert hits / of(rows("prompts")) == pytest.approx(0.111, abs=0.001)
    assert {(r.labels["num_gpu_blocks"], r.labels["block_size"]) for r in rows("kv_size")} == {("6426", "64")}


def test_staircase_offered_load_without_the_picker(staircase_rows: Snapshot) -> None:
    """Served is not offered: engines finish 7.7 requests/s while 12.2 arrive."""
    piling = slope([*staircase_rows.rows("running_trail"), *staircase_rows.rows("waiting_trail")])
    assert piling is not None
    assert of(staircase_rows.rows("finished")) + piling == pytest.approx(12.20, abs=0.01)


def test_a_starting_pod_answers_with_an_error_page_and_has_no_series(staircase: Recording) -> None:
    errors = [scrape for scrape in staircase.scrapes if '{"object":"error"' in scrape.exposition]
    assert len(errors) == 3
    snapshot = asyncio.run(staircase.source(Windows()).read(Instant(1785724540.0)))
    assert not {row.labels["pod"][-5:] for row in snapshot.rows("engine_newest")} & {"zxzlj"}


def observed(recording: Recording, *, source: str) -> ModelObservation:
    """Return what a policy over the staircase sees; its pods carry no role, its pool is unified."""
    metrics = observing.metrics(source)
    policy = observing.policy(model=LLAMA, roles=(Role.UNIFIED,), metrics=metrics)
    names = [scrape.target.labels["pod"] for scrape in recording.at(STEP).values() if "decode" in scrape.target.name]
    ages = {name: STEP - 50.0 if name.endswith("zxzlj") else 0.0 for name in names}  # that one has just started
    members = [pod for name, since in ages.items() for pod in observing.pods("unified", name, since=since)]
    fleet = observing.Fleet(policy.key, {"unified": members})
    observer = ClusterObserver((policy,), recording.source(Windows()), fleet)
    return asyncio.run(observer.observe(STEP)).models[policy.key]


@pytest.mark.parametrize("source", ["auto", "vllm"])
def test_staircase_load_with_and_without_the_picker(staircase: Recording, source: str) -> None:
    model = observed(staircase, source=source)
    load = model.loads["default"]
    assert known(load.requests_per_second, -1.0) == pytest.approx(12.20, abs=0.01)
    assert known(model.unmatched_share, -1.0) == 1.0
    # 2048 in, 512 out for every request; at 12.2/s that is more than is served
    assert known(load.prompt_tokens_per_second, -1.0) == pytest.approx(12.20 * 2048, rel=0.01)
    assert known(load.output_tokens_per_second, -1.0) == pytest.approx(12.20 * 512, rel=0.01)
    assert {known(engine.kv_capacity_tokens, -1.0) for engine in model.engines.values()} == {411_264.0}


def test_h200_tokens_count_on_one_side_only(saturated: Snapshot) -> None:
    rows = saturated.rows
    assert of(rows("prompts"), llm_d_ai_role="prefill") == pytest.approx(7_232, abs=1)
    assert of(rows("prompt_sources"), source="local_compute") == pytest.approx(7_232, abs=1)
    assert of(rows("prompts")) == pytest.approx(14_387, abs=1)
    assert of(rows("generated"), llm_d_ai_role="decode") == pytest.approx(792, abs=1)


def test_h200_waiting_is_a_queue_on_prefill_and_transfer_on_decode(saturated: Snapshot) -> None:
    rows = saturated.rows
    assert of(rows("waiting_capacity"), llm_d_ai_role="prefill") == 17.0
    assert of(rows("waiting_capacity"), llm_d_ai_role="decode") == 0.0
    assert of(rows("waiting_deferred"), llm_d_ai_role="decode") == 4.0


def test_h200_engines() -> None:
    recording = load_recording(observing.RECORDING)
    policy = observing.policy(*observing.BY_FAIRNESS)
    observer = ClusterObserver((policy,), recording.source(Windows()), observing.one_each())
    seen = asyncio.run(observer.observe(Instant(1795372160.0))).models[policy.key]
    assert known(seen.engines["p0"].ttft_mean_s, -1.0) == pytest.approx(1.603, abs=0.001)
    assert known(seen.engines["d0"].ttft_mean_s, -1.0) == pytest.approx(0.165, abs=0.001)
    assert known(seen.engines["p0"].kv_capacity_tokens, -1.0) == 204_800.0
    assert known(seen.engines["d0"].kv_capacity_tokens, -1.0) == 225_280.0
    assert not is_present(seen.engines["p0"].itl_mean_s)


def test_h200_load_by_profile_is_what_was_sent() -> None:
    """Phase 4 against the plan (rag 3/s, reasoning 1/s, chat 0.5/s, Poisson) and the first tokens in the log."""
    recording = load_recording(observing.RECORDING)
    policy = observing.policy(*observing.BY_FAIRNESS)
    observer = ClusterObserver((policy,), recording.source(Windows(fast=Seconds(45.0))), observing.one_each())
    model = asyncio.run(observer.observe(Instant(1795372156.0))).models[policy.key]
    assert known(model.loads["rag"].requests_per_second, -1.0) == pytest.approx(3.0, rel=0.1)
    assert known(model.loads["reasoning"].requests_per_second, -1.0) == pytest.approx(1.0, rel=0.1)
    assert known(model.loads["default"].requests_per_second, -1.0) == pytest.approx(0.5, rel=0.2)
    ttft = model.loads["rag"].ttft
    assert is_present(ttft)
    with gzip.open(observing.RECORDING / "requests.jsonl.gz", "rt") as lines:
        requests = [json.loads(line) for line in lines]
    first = (r["ttft"] for r in requests if r["profile"] == "rag" and 1795372111 < r["t"] + r["ttft"] <= 1795372156)
    waits = sorted(first)
    assert ttft.mean_s == pytest.approx(sum(waits) / len(waits), rel=0.03)
    assert ttft.p90_s == pytest.approx(waits[int(0.9 * len(waits))], rel=0.05)
    assert ttft.within_slo == pytest.approx(sum(wait <= 2.0 for wait in waits) / len(waits), abs=0.02)


def test_h200_itl_inside_a_limit_that_divides_the_pickers_bucket() -> None:
    """Of all gaps 97 % are inside 30 ms; the picker's bucket from 20 to 40 ms alone would make it 60 %."""
    recording = load_recording(observing.RECORDING)
    policy = observing.policy(*observing.BY_FAIRNESS)
    everything = Windows(fast=Seconds(360.0))
    observer = ClusterObserver((policy,), recording.source(everything), observing.one_each())
    load = asyncio.run(observer.observe(Instant(recording.end))).models[policy.key].loads["reasoning"]
    assert is_present(load.itl)
    assert load.itl.within_slo == pytest.approx(0.97, abs=0.02)
    assert "itl" in load.inferred
