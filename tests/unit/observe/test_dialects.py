"""Real expositions of each dialect answer the readings; what a dialect lacks has a fallback or is Missing."""

import asyncio

import pytest

from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import Missing, known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import catalogue
from autoscaler.observe.catalogue import Dialect, Windows
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.scrape import MemorySource, wanted_lines
from tests import observing
from tests.observing import target

FOLDER = observing.DATA / "observe"
WINDOWS = Windows(fast=Seconds(60.0), long=Seconds(60.0))


def twice(text: str) -> MemorySource:
    """Return a source that saw the same page at 0 s and 60 s."""
    source = MemorySource(("llm",), WINDOWS)
    for at in (0.0, 15.0, 30.0, 45.0, 60.0):
        source.add(Instant(at), target("p", "prefill"), text)
    return source


@pytest.mark.parametrize(
    "page", ["vllm-0.26-single.txt", "vllm-0.26-prefill-nixl.txt", "vllm-0.26-decode-nixl.txt", "vllm-0.32-single.txt"]
)
def test_every_engine_reading_finds_its_series(page: str) -> None:
    snapshot = asyncio.run(twice((FOLDER / page).read_text()).read(Instant(60.0)))
    empty = [reading.name for reading in catalogue.ENGINE_READINGS if not snapshot.rows(reading.name)]
    assert empty == []


@pytest.mark.parametrize(
    ("page", "prompts", "generated"),
    [("vllm-0.26-prefill-nixl.txt", 7208.0, 8.0), ("vllm-0.26-decode-nixl.txt", 7208.0, 128.0)],
)
def test_prompts_are_seen_on_both_roles_and_output_on_decode(page: str, prompts: float, generated: float) -> None:
    """The first increase of a counter that starts at 0 is the whole of it."""
    text = (FOLDER / page).read_text()
    source = MemorySource(("llm",), WINDOWS)
    zero = "\n".join(f"{line.rpartition(' ')[0]} 0" for line in wanted_lines(text)) + "\n"
    source.add(Instant(0.0), target("p"), zero)
    source.add(Instant(60.0), target("p"), text)
    snapshot = asyncio.run(source.read(Instant(60.0)))
    (prompt,), (output,) = snapshot.rows("prompts"), snapshot.rows("generated")
    assert prompt.value * 60.0 == pytest.approx(prompts)
    assert output.value * 60.0 == pytest.approx(generated)


def engine_load(text: str) -> EngineLoad:
    policy = observing.policy(roles=(Role.UNIFIED,))
    fleet = observing.Fleet(policy.key, {"unified": observing.pods("unified", "p")})
    observer = ClusterObserver((policy,), twice(text), fleet)
    return asyncio.run(observer.observe(Instant(60.0))).models[policy.key].engines["p"]


def test_names_of_vllm_0_10_are_understood() -> None:
    """No reasons, no sources, the old name of the KV use, no size in tokens."""
    labels = 'model_name="m",engine="0"'
    load = engine_load(
        f"vllm:num_requests_running{{{labels}}} 3\n"
        f"vllm:num_requests_waiting{{{labels}}} 7\n"
        f"vllm:gpu_cache_usage_perc{{{labels}}} 0.25\n"
        f"vllm:prompt_tokens_total{{{labels}}} 1000\n"
        f"vllm:gpu_prefix_cache_hits_total{{{labels}}} 100\n"
        'vllm:cache_config_info{engine="0",num_gpu_blocks="6426",block_size="64"} 1\n'
    )
    assert (load.running, load.waiting, load.kv_use_ratio) == (3.0, 7.0, 0.25)
    assert load.kv_capacity_tokens == 411_264.0
    assert known(load.computed_prompt_tokens_per_second, -1.0) == 0.0
    assert isinstance(load.deferred, Missing)


def test_the_new_name_of_the_kv_use_wins() -> None:
    labels = 'model_name="m",engine="0"'
    load = engine_load(
        f"vllm:num_requests_running{{{labels}}} 3\n"
        f"vllm:kv_cache_usage_perc{{{labels}}} 0.5\n"
        f"vllm:gpu_cache_usage_perc{{{labels}}} 0.25\n"
    )
    assert load.kv_use_ratio == 0.5


def test_ranks_of_a_pod_are_taken_together() -> None:
    ranks = [f'model_name="m",engine="{rank}"' for rank in (0, 1)]
    load = engine_load(
        "".join(
            f"vllm:num_requests_running{{{labels}}} 3\nvllm:kv_cache_usage_perc{{{labels}}} 0.{use}\n"
            for labels, use in zip(ranks, (2, 4), strict=True)
        )
        + 'vllm:cache_config_info{engine="0",num_gpu_blocks="10",block_size="16"} 1\n'
        + 'vllm:cache_config_info{engine="1",num_gpu_blocks="10",block_size="16"} 1\n'
    )
    assert (load.running, load.kv_capacity_tokens) == (6.0, 320.0)
    assert known(load.kv_use_ratio, -1.0) == pytest.approx(0.3)


def test_a_kv_size_that_is_no_number_is_missing() -> None:
    load = engine_load(
        'vllm:num_requests_running{model_name="m",engine="0"} 3\n'
        'vllm:cache_config_info{engine="0",num_gpu_blocks="None",block_size="16",kv_cache_size_tokens="None"} 1\n'
    )
    assert isinstance(load.kv_capacity_tokens, Missing)


def test_a_picker_without_requests_so_far_leaves_the_word_to_the_engines() -> None:
    """A real picker of three members that has not dispatched anything: its request series do not exist yet."""
    source = observing.filled(
        WINDOWS,
        {
            target("epp-0"): lambda _: (FOLDER / "epp-0.10.0-pool-3-pods.txt").read_text(),
            target("p0", "prefill"): lambda s: observing.engine(s, Role.PREFILL, 2.0),
            target("d0", "decode"): lambda s: observing.engine(s, Role.DECODE, 2.0),
        },
        1200.0,
    )
    policy = observing.policy()
    seen = asyncio.run(ClusterObserver((policy,), source, observing.one_each()).observe(Instant(1200.0)))
    assert known(seen.models[policy.key].loads["default"].requests_per_second, -1.0) == pytest.approx(2.0)


def test_every_reading_of_the_picker_that_had_an_old_name_knows_it() -> None:
    """TTFT and gaps between tokens have no old name that is filled without the latency predictor."""
    new_only = {r.name for r in catalogue.PICKER_READINGS if [s.dialect for s in r.series] == [Dialect.EPP]}
    assert new_only == {"ttft_sum", "ttft_bucket", "itl_sum", "itl_bucket"}
