"""Every published vector of the peers' algorithms, one test each."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autoscaler.backtest.baselines import (
    aibrix,
    dynamo_budget,
    dynamo_capacity,
    dynamo_forecast,
    dynamo_load,
    hpa,
    keda,
    knative,
    kthena,
    kthena_roles,
    kubeai,
    llmd,
    rayserve,
    rbg,
    static,
    wva_v1,
    wva_v2,
)
from autoscaler.backtest.baselines.verdict import Proposal, Verdict
from autoscaler.domain.policy import Behavior, ScalingRules, Select, StepKind, StepLimit
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan.behavior import Memory

Input = Mapping[str, Any]
VECTORS = json.loads((Path(__file__).parents[2] / "data" / "baseline-vectors.json").read_text())["vectors"]


def plain(value: object) -> object:
    """Return a result as the vectors write it."""
    if isinstance(value, Verdict):
        return None
    return list(value) if isinstance(value, tuple) else value


def rules(spec: Input) -> ScalingRules:
    limits = tuple(StepLimit(StepKind(p["type"]), p["value"], Seconds(p["period"])) for p in spec["policies"])
    return ScalingRules(Seconds(spec["window"]), limits, Select(spec["select"]), hpa.TOLERANCE)


def autoscaler(spec: Input) -> hpa.Autoscaler:
    behavior = Behavior(rules(spec["scale_up"]), rules(spec["scale_down"])) if "scale_up" in spec else None
    return hpa.Autoscaler(spec["min"], spec["max"], behavior)


def replayed(spec: Input) -> list[int]:
    """Feed recommendations to an HPA object; return replicas after each sync."""
    subject, current, out = autoscaler(spec), spec["start"], []
    memory = Memory.starting(Instant(spec["times"][0]), current)
    for at, recommendation in zip(spec["times"], spec["recommendations"], strict=True):
        current, memory = subject.sync(recommendation, current, memory, Instant(at))
        out.append(current)
    return out


def closed_loop(spec: Input, proposal: Callable[[int], int]) -> list[int]:
    subject, current, out = autoscaler(spec), spec["start"], []
    memory = Memory.starting(Instant(0), current)
    for step in range(spec["steps"]):
        current, memory = subject.sync(proposal(current), current, memory, Instant(step * spec["sync_s"]))
        out.append(current)
    return out


def fluid(spec: Input) -> list[int]:
    """A queue that replicas empty once they have started, scaled by waiting requests per pod."""
    subject, current, out = autoscaler(spec), spec["start"], []
    memory = Memory.starting(Instant(0), current)
    ready_at = [-math.inf] * current
    queue = 0.0
    for step in range(spec["steps"]):
        at = step * spec["sync_s"]
        ready = sum(moment <= at for moment in ready_at)
        queue = max(0.0, queue + (spec["arrival_rps"] - spec["service_rps_per_replica"] * ready) * spec["sync_s"])
        loading = current - ready
        counted = {"unready" if spec["count_unready"] else "missing": loading}
        proposal = hpa.pods_metric(current, spec["target_waiting_per_pod"], [queue / ready] * ready, **counted)
        assert proposal is not Verdict.INVALID
        grown, memory = subject.sync(proposal, current, memory, Instant(at))
        ready_at += [at + spec["startup_s"]] * (grown - current)
        current = grown
        out.append(current)
    return out


def hpa_combine(spec: Input) -> object:
    invalid: list[Proposal] = [Verdict.INVALID] * spec["invalid"]
    return hpa.combined(spec["spec"], [*spec["proposals"], *invalid])


def keda_operator(spec: Input) -> object:
    scaled = keda.ScaledObject(
        minimum=spec["min"],
        idle=spec.get("idle"),
        fallback_replicas=spec.get("fallback_replicas"),
        created=Instant(spec.get("created", 0.0)),
    )
    return keda.operator(
        scaled,
        spec["current"],
        active=spec["active"],
        error=spec["error"],
        last_active=spec.get("last_active"),
        now=Instant(spec["now"]),
    )


def keda_prometheus(spec: Input) -> object:
    value = keda.prometheus_value(spec["series"], ignore_null_values=spec["ignore_null_values"])
    return "error" if value is Verdict.INVALID else value


def keda_fallback(spec: Input) -> float:
    wanted = keda.fallback_replicas(keda.Fallback(spec["behavior"]), spec["n"], spec["current"])
    return keda.fallback_value(
        wanted, spec["target"], ready=spec["ready"], average=spec["metric_type"] == "AverageValue"
    )


def knative_sequence(spec: Input) -> list[int]:
    settings = knative.Settings(target=spec["target"], scale_down_delay=Seconds(spec["scale_down_delay"]))
    state = knative.State.starting(Instant(0.0), spec["initial_ready"])
    out = []
    for step in spec["steps"]:
        wanted, state = knative.step(
            settings, state, Instant(step["t"]), ready=step["ready"], stable=step["stable"], panic=step["panic"]
        )
        out.append(wanted)
    return out


def aibrix_settings(spec: Input) -> aibrix.Settings:
    return aibrix.Settings(
        minimum=spec.get("min", 0),
        up_cooldown=Seconds(spec.get("up_window", 0.0)),
        down_cooldown=Seconds(spec.get("down_window", 300.0)),
    )


def aibrix_stabiliser(spec: Input) -> int:
    return aibrix.stabilised(
        aibrix_settings(spec),
        [(Instant(at), count) for at, count in spec["history"]],
        Instant(spec["t"]),
        current=spec["current"],
        recommendation=spec["recommendation"],
        repaired=not spec["inverted"],
    )


def wva_one(spec: Input) -> dict[str, int]:
    variants = [
        wva_v1.Variant(v["name"], v["current"], v["pending"], v["desired"], v["min"] or 0, v["max"])
        for v in spec["variants"]
    ]
    return wva_v1.targets(variants, [wva_v1.Replica(**replica) for replica in spec["replicas"]])


def wva_two(spec: Input) -> list[dict[str, int]]:
    memory, out = wva_v2.Memory(), []
    for cycle in spec["cycles"]:
        variants = [
            wva_v2.Variant(
                name=v["name"],
                role=v["role"],
                current=v["current"],
                minimum=v["min"] or 0,
                maximum=v["max"],
                accelerator=v["accel"],
                accelerators=v["gpus"],
                pending=v["pending"],
                batched_tokens=v["B"],
                max_sequences=v["S"],
            )
            for v in cycle["variants"]
        ]
        instances = [
            wva_v2.Instance(r["variant"], r["kv"], r["queue"], r["total"], r["in"], r["out"], r["cost"])
            for r in cycle["replicas"]
            for _ in range(r["count"])
        ]
        queue = wva_v2.RouterQueue(cycle.get("qsize", 0.0), cycle.get("qbytes", 0.0))
        wanted, memory = wva_v2.cycle(variants, instances, queue, memory)
        out.append(wanted)
    return out


def dynamo_engine(spec: Input) -> dynamo_capacity.Engine:
    a, b = spec["prefill_s"]
    base, per_sequence, per_kv = spec["decode_s"]
    return dynamo_capacity.Engine(
        prefill_s=lambda tokens: a + b * tokens,
        decode_s=lambda batch, kv: base + per_sequence * batch + per_kv * kv,
        max_batched_tokens=spec.get("max_num_batched_tokens", 8192),
        max_sequences=spec.get("max_num_seqs", 256),
        max_kv_tokens=spec.get("max_kv_tokens", math.inf),
    )


def dynamo_point(capacity: dynamo_capacity.Capacity, latency: str) -> dict[str, float | bool]:
    return {
        "rps": capacity.rps,
        "eligible": capacity.eligible,
        "batch": capacity.batch,
        latency: capacity.latency_s,
    }


def dynamo_prefill(spec: Input) -> object:
    shape = dynamo_capacity.Shape(spec["isl"], 1, spec["kv_hit_rate"])
    found = dynamo_capacity.prefill_capacity(dynamo_engine(spec), shape, spec["ttft_sla_s"])
    return dynamo_point(found, "ttft_s")


def dynamo_decode(spec: Input) -> object:
    shape = dynamo_capacity.Shape(spec["isl"], spec["osl"], accept_length=spec["accept_length"])
    return dynamo_point(dynamo_capacity.decode_capacity(dynamo_engine(spec), shape, spec["itl_sla_s"]), "itl_s")


def dynamo_fit(spec: Input) -> tuple[int, int]:
    ceiling = dynamo_budget.Ceiling((spec["gpu_p"], spec["gpu_d"]), spec["max_gpus"])
    current = (spec["current_p"], spec["current_d"])
    return dynamo_budget.fitted(ceiling, current, (spec["proposed_p"], spec["proposed_d"]))


def dynamo_proportional(spec: Input) -> tuple[int, int]:
    ceiling = dynamo_budget.Ceiling((spec["gpu_p"], spec["gpu_d"]), spec["max_gpus"])
    return dynamo_budget.proportional(ceiling, (spec["p"], spec["d"]))


def dynamo_load_prefill(spec: Input) -> int:
    return dynamo_load.prefill(
        dynamo_engine(spec),
        dynamo_capacity.Shape(spec["avg_isl"], 1, spec["kv_hit_rate"]),
        spec["queued_tokens"],
        ttft_s=spec["ttft_sla_s"],
        ready=spec["ready"],
        sensitivity=spec["sensitivity"],
    )


def dynamo_load_decode(spec: Input) -> int:
    return dynamo_load.decode(
        dynamo_engine(spec),
        spec["avg_context"],
        [dynamo_load.DecodeState(*pair) for pair in spec["requests_and_kv"]],
        itl_s=spec["itl_sla_s"],
        ready=spec["ready"],
        sensitivity=spec["sensitivity"],
    )


def dynamo_legacy(spec: Input) -> tuple[int, int]:
    def side(tokens: str, correction: str, rate: str, gpus: str) -> int:
        return dynamo_capacity.legacy_replicas(
            spec["num_req"],
            spec[tokens],
            spec["interval_s"],
            correction=spec[correction],
            tokens_per_s_per_gpu=spec[rate],
            gpus=spec[gpus],
        )

    return (
        side("isl", "p_correction", "prefill_tokens_per_s_per_gpu", "gpu_p"),
        side("osl", "d_correction", "decode_tokens_per_s_per_gpu", "gpu_d"),
    )


def dynamo_kalman(spec: Input) -> list[float]:
    predictor = dynamo_forecast.Kalman(spec["q_level"], spec["q_trend"], spec["r"], spec["min_points"])
    return [predictor.forecast(spec["observations"][: end + 1]) for end in range(len(spec["observations"]))]


def kthena_settings(spec: Input) -> kthena.Settings:
    def steps(way: str) -> kthena.Steps:
        return kthena.Steps(
            spec[f"{way}_inst"],
            spec[f"{way}_pct"],
            Seconds(spec[f"{way}_period"]),
            Seconds(spec[f"{way}_window"]),
            kthena.Select(spec[f"{way}_sel"]),
        )

    panic = kthena.Panic(
        spec["panic_pct"], Seconds(spec["panic_period"]), spec["panic_thr"], Seconds(spec["panic_hold"])
    )
    return kthena.Settings(spec["min"], spec["max"], steps("up"), steps("dn"), panic)


def kthena_sequence(spec: Input) -> list[int]:
    settings, state, current, out = kthena_settings(spec), kthena.State(), spec["start"], []
    for at, recommendation in zip(spec["times"], spec["recommendations"], strict=True):
        current, state = kthena.corrected(settings, state, Instant(at), current=current, recommendation=recommendation)
        out.append(current)
    return out


def kthena_ratio(spec: Input) -> tuple[int, int]:
    return kthena_roles.projected(
        spec["numerator"],
        spec["denominator"],
        ratio=(spec["min_ratio"], spec["max_ratio"]),
        numerator_bounds=tuple(spec["numerator_bounds"]),
        denominator_bounds=tuple(spec["denominator_bounds"]),
    )


def kthena_spread(spec: Input) -> dict[str, int]:
    types = [kthena_roles.AcceleratorType(p["name"], p["min"], p["max"], p["cost"]) for p in spec["params"]]
    return kthena_roles.spread(types, spec["total"], expansion_percent=spec["cost_expansion_rate_percent"])


SUBJECTS: Mapping[str, Callable[[Input], object]] = {
    "hpa.pods": lambda v: (
        None
        if (p := hpa.pods_metric(v["current"], v["target"], v["ready"], unready=v["unready"], missing=v["missing"]))
        is Verdict.INVALID
        else p
    ),
    "hpa.external_average": lambda v: hpa.external_average(v["status"], v["total"], v["target"]),
    "hpa.external_value": lambda v: hpa.external_value(v["current"], v["ready"], v["total"], v["target"]),
    "hpa.combine": hpa_combine,
    "hpa.behavior_sequence": replayed,
    "hpa.no_behavior_sequence": replayed,
    "hpa.closed_loop_value": lambda v: closed_loop(v, lambda n: hpa.external_value(n, n, v["signal"], v["target"])),
    "hpa.closed_loop_average": lambda v: closed_loop(v, lambda n: hpa.external_average(n, v["signal"], v["target"])),
    "hpa.fluid": fluid,
    "keda.operator": keda_operator,
    "keda.prometheus_value": keda_prometheus,
    "keda.fallback_value": keda_fallback,
    "knative.sequence": knative_sequence,
    "aibrix.apa": lambda v: aibrix.apa(aibrix_settings(v), v["current"], v["value"], v["target"]),
    "aibrix.kpa": lambda v: aibrix.kpa(
        aibrix_settings(v), v["current"], stable=v["stable"], panic=v["panic"], target=v["target"]
    ),
    "aibrix.stabiliser": aibrix_stabiliser,
    "wva.v1": wva_one,
    "wva.v2": wva_two,
    "llmd.token_prefill": lambda v: llmd.token_prefill(
        v["inflight_tokens"], v["peak_prefill_tokens_per_s"], v["threshold_s"], v["status"]
    ),
    "llmd.token_decode": lambda v: llmd.token_decode(v["kv_usage_per_pod"], v["threshold"], v["status"]),
    "llmd.queue_guard": lambda v: llmd.queue_guard(
        v["queue"], v["running"], pending=v["pending"] or 0, replicas=v["replicas"]
    ),
    "llmd.slo_aware": lambda v: llmd.SloAware().replicas(v["s"], v["n"], v["r"]),
    "llmd.slo_signal": lambda v: llmd.SloAware(v["slo_ttft_s"], v["slo_tpot_s"], v["clamp"]).signal(
        v["samples_ttft_tpot_s"]
    ),
    "dynamo.prefill_capacity": dynamo_prefill,
    "dynamo.decode_capacity": dynamo_decode,
    "dynamo.replicas": lambda v: dynamo_capacity.replicas(v["rate"], v["engine_rps"], v["current"]),
    "dynamo.budget_fit": dynamo_fit,
    "dynamo.budget_proportional": dynamo_proportional,
    "dynamo.easy": lambda v: dynamo_load.easy(
        dynamo_load.Kind(v["kind"]), dynamo_load.Target(v["target"]), v["values"], v["ready"]
    ),
    "dynamo.load_prefill": dynamo_load_prefill,
    "dynamo.load_decode": dynamo_load_decode,
    "dynamo.legacy": dynamo_legacy,
    "dynamo.kalman": dynamo_kalman,
    "kthena.ratio": kthena_ratio,
    "kthena.pod_recommendation": lambda v: kthena.pod_recommendation(
        v["current"], v["total"], v["target"], unready=v["unready"], settings=kthena.Settings()
    ),
    "kthena.prometheus_recommendation": lambda v: kthena.prometheus_recommendation(
        v["current"], v["value"], v["target"], kthena.Settings()
    ),
    "kthena.behavior_sequence": kthena_sequence,
    "kthena.heterogeneous": kthena_spread,
    "ray.step": lambda v: rayserve.wish(
        v["current"], v["ongoing"], rayserve.Settings(target_ongoing=v["target"], upscaling_factor=v["factor"])
    ),
    "rbg.next": lambda v: rbg.next_batch(v["current"], v["desired"], v["max_skew"]),
    "kubeai.step": lambda v: kubeai.step(
        kubeai.Settings(target_requests=v["target_requests"]),
        kubeai.State(),
        current=v["current"],
        mean_active=v["mean_active"],
    )[0],
    "static": lambda v: static.wanted(v["replicas"]),
}


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    found = plain(SUBJECTS[vector["function"]](vector["input"]))
    expected = vector["expected"]
    cycles = isinstance(expected, list) and all(isinstance(item, dict) for item in expected)
    if expected is None or isinstance(expected, str) or cycles:
        assert found == expected
    else:
        assert found == pytest.approx(expected, abs=1e-6)


def test_no_vector_is_left_out() -> None:
    assert len(VECTORS) == 157
    assert {vector["function"] for vector in VECTORS} == set(SUBJECTS)
