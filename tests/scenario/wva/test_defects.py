"""WVA's defects E1 to E9: each situation with what its baseline does, and why that is wrong."""

from dataclasses import replace

import pytest

from autoscaler.backtest.baselines import wva_v2
from autoscaler.backtest.baselines.wva_v2 import Instance, Memory, RouterQueue, Variant

KV_TOKENS = 400_000.0
"""KV memory of one engine; WVA plans with 80 % of it."""

PREFILL = Variant("prefill", "prefill", current=2, minimum=1, maximum=8, accelerator="H100")
DECODE = Variant("decode", "decode", current=2, minimum=1, maximum=10, accelerator="H100")


def engines(variant: str, count: int, kv: float, queue: float = 0.0, **shape: float) -> list[Instance]:
    """Return ``count`` equal engines; ``shape``: prompt, output, cost, tokens where they differ from the usual."""
    usual = {"tokens": KV_TOKENS, "prompt": 1000.0, "output": 500.0, "cost": 10.0} | shape
    return [Instance(variant, kv, queue, usual["tokens"], usual["prompt"], usual["output"], usual["cost"])] * count


def targets(variants: list[Variant], seen: list[Instance], queued: float = 0.0) -> dict[str, int]:
    wanted, _ = wva_v2.cycle(variants, seen, RouterQueue(requests=queued), Memory())
    return wanted


def test_e1_a_full_role_that_needs_nothing_keeps_the_other_from_growing() -> None:
    busy = [*engines("prefill", 2, 0.05, output=1.0), *engines("decode", 2, 0.95)]
    full = replace(PREFILL, maximum=2)
    assert targets([PREFILL, DECODE], busy)["decode"] == 3, "with headroom in prefill, decode at KV 0.95 grows"
    assert targets([full, DECODE], busy)["decode"] == 2, "with prefill at its maximum, though idle, it does not"


def test_e1_a_role_with_little_headroom_trims_the_other() -> None:
    one_more = replace(PREFILL, maximum=3)
    decode = replace(DECODE, current=4, maximum=20)
    busy = [
        *engines("prefill", 2, 0.5, 100.0, prompt=5000.0, output=1.0),
        *engines("decode", 4, 1.0, 50.0, prompt=5000.0),
    ]
    alone = targets([decode], engines("decode", 4, 1.0, 50.0, prompt=5000.0))["decode"] - decode.current
    together = targets([one_more, decode], busy)["decode"] - decode.current
    assert (alone, together) == (6, 1)


def test_e2_any_growth_forbids_every_shrinking() -> None:
    idle_prefill = replace(PREFILL, current=6, maximum=10)
    half_idle = engines("prefill", 6, 0.392, output=1.0)
    calm = targets([idle_prefill, DECODE], [*half_idle, *engines("decode", 2, 0.5)])
    pressed = targets([idle_prefill, DECODE], [*half_idle, *engines("decode", 2, 0.95)])
    assert calm["prefill"] == 5
    assert pressed["prefill"] == 6, "decode needs one more, so prefill keeps what it does not need"


@pytest.mark.parametrize(("queue", "decode"), [pytest.param(4.0, 4, id="control"), pytest.param(5.0, 8, id="defect")])
def test_e3_a_prefill_queue_is_learned_as_the_capacity_of_decode(queue: float, decode: int) -> None:
    variants = [PREFILL, replace(DECODE, current=4, minimum=4, maximum=8)]
    seen = [
        *engines("prefill", 1, 0.05, queue, prompt=4000.0, output=1.0),
        *engines("prefill", 1, 0.05, prompt=4000.0, output=1.0),
        *engines("decode", 4, 0.38, prompt=4000.0, output=50.0),
    ]
    assert targets(variants, seen)["decode"] == decode


@pytest.mark.parametrize(
    ("kv", "wrong", "right"),
    [
        pytest.param(0.4, 1, 3, id="E4 shrinks far below the need"),
        pytest.param(0.95, 17, 6, id="E5 grows far above it"),
    ],
)
def test_e4_e5_engines_are_counted_but_pods_are_moved(kv: float, wrong: int, right: int) -> None:
    pods = Variant("dp8", "", current=4, minimum=1, maximum=40, accelerator="H100", accelerators=8)
    eight_to_a_pod = engines("dp8", 32, kv)
    assert targets([pods], eight_to_a_pod)["dp8"] == wrong
    one_to_a_pod = engines("dp8", 4, kv)
    assert abs(targets([pods], one_to_a_pod)["dp8"] - right) <= 1, "the same load in one unit throughout"


def test_e6_series_that_vanish_read_as_idle() -> None:
    four = Variant("v", "", current=4, minimum=1, maximum=10, accelerator="H100")
    whole = engines("v", 4, 0.7)
    blind_on_two = [*engines("v", 2, 0.7), *engines("v", 2, 0.0)]
    assert targets([four], whole)["v"] >= 4
    assert targets([four], blind_on_two)["v"] == 3, "a replica is removed at a true 88 % use"


def test_e6_when_all_series_vanish_both_roles_collapse() -> None:
    variants = [replace(PREFILL, current=4, maximum=10), replace(DECODE, current=10)]
    blind = [*engines("prefill", 4, 0.0, output=1.0), *engines("decode", 10, 0.0)]
    assert targets(variants, blind) == {"prefill": 1, "decode": 1}


def test_e6_only_no_series_at_all_holds() -> None:
    assert targets([PREFILL, DECODE], []) == {"prefill": 2, "decode": 2}


def test_e7_a_variant_without_replicas_looks_free() -> None:
    cheap = Variant("l40s", "", current=2, minimum=1, maximum=8, accelerator="L40S")
    dear = Variant("h200", "", current=0, maximum=8, accelerator="H200", batched_tokens=8192)
    wanted = targets([cheap, dear], engines("l40s", 2, 0.95, cost=3.0, tokens=170_000.0))
    assert wanted == {"l40s": 2, "h200": 1}, "its price is read from pods that do not exist"


@pytest.mark.parametrize(
    ("waiting", "queued", "replicas"),
    [
        pytest.param(4.0, 0.0, 7, id="E8 prompts on the pods"),
        pytest.param(0.0, 60.0, 37, id="E9 prompts at the router"),
    ],
)
def test_e8_e9_prefill_capacity_is_one_batch_without_a_time(waiting: float, queued: float, replicas: int) -> None:
    pool = replace(PREFILL, maximum=60, batched_tokens=8192)
    seen = engines("prefill", 2, 0.02, waiting, prompt=4000.0, output=1.0)
    assert targets([pool], seen, queued)["prefill"] == replicas
    seconds_for_one = (8.0 if waiting else 60.0) * 4000.0 / 16_000.0
    assert seconds_for_one <= 15.0, "one replica at 16,000 tokens/s clears it within 15 s"
