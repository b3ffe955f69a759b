"""Why this number: the chain from demand to target for one variant, drawn from one recorded tick and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from autoscaler.publish.document import Json

Data: TypeAlias = Mapping[str, Any]

UNITS: Mapping[str, str] = {"decode": "output tokens/s"}
PROMPT_UNIT = "uncached prompt tokens/s"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A tick as logged, and the policies that governed it, by key."""

    tick: Data
    policies: Mapping[str, Data]

    def subjects(self, policy: str | None = None, variant: str | None = None) -> tuple[tuple[str, str], ...]:
        """Return policy key and variant name of everything decided, or of what the names select."""
        return tuple(
            (key, name)
            for key, model in self.tick["plan"].items()
            for name in model["variants"]
            if policy in {None, key} and variant in {None, name}
        )


def explained(recorded: Recorded, policy: str, variant: str) -> dict[str, Json]:
    """Return the chain for one variant: demand, forecast, capacity, wanted, amendments, target, alternatives."""
    view = _View(recorded, policy, variant)
    return {
        "at": recorded.tick["at"],
        "policy": policy,
        "policy_version": recorded.tick.get("policies", {}).get(policy),
        "mode": view.policy.get("mode"),
        "variant": variant,
        "role": view.role,
        "demand": [*_demand(view)],
        "forecast": _forecast(view),
        "capacity": _capacity(view),
        "wanted": _wanted(view),
        "amendments": [_amendment(reason) for reason in view.amendments],
        "target": _target(view),
        "actions": [*_actions(view)],
        "alternatives": [*_alternatives(view)],
        "missing": [gap for gap in recorded.tick["observation"]["gaps"] if gap["policy"] in {"", policy}],
    }


class _View:
    """One variant's part of a tick."""

    def __init__(self, recorded: Recorded, policy: str, variant: str) -> None:
        self.recorded = recorded
        self.key, self.name = policy, variant
        self.policy: Data = recorded.policies.get(policy, {})
        self.model: Data = recorded.tick["plan"][policy]
        self.plan: Data = self.model["variants"][variant]
        self.observed: Data = recorded.tick["observation"]["models"].get(policy, {})
        self.reasons: Sequence[Data] = self.plan["reasons"]

    @property
    def role(self) -> str:
        return str(self.declared(self.name).get("role", ""))

    @property
    def sized(self) -> Data:
        """Return the evidence of the reason that sized this variant; empty where it was not sized."""
        return _sized(self.plan)

    @property
    def amendments(self) -> Sequence[Data]:
        return [reason for reason in self.reasons if "tokens_per_s" not in reason["evidence"]]

    def declared(self, variant: str) -> Data:
        """Return what the policy says of a variant."""
        return next((v for v in self.policy.get("variants", ()) if v["name"] == variant), {})


def _sized(plan: Data) -> Data:
    found = (reason["evidence"] for reason in plan["reasons"] if "tokens_per_s" in reason["evidence"])
    return next(found, {})


def _demand(view: _View) -> Iterator[dict[str, Json]]:
    """Yield what each profile was seen to ask for, and what the decision expected of it."""
    expected = {outlook["profile"]: outlook for outlook in view.model["demand"]}
    loads: Data = view.observed.get("loads", {})
    for profile in dict.fromkeys([*loads, *expected]):
        load = loads.get(profile, {})
        yield {
            "profile": profile,
            "measured": {name: load.get(name) for name in _RATES},
            "expected": {name: expected.get(profile, {}).get(name) for name in _RATES},
            "ttft_within_limit": _share(load.get("ttft")),
            "itl_within_limit": _share(load.get("itl")),
        }


_RATES = ("requests_per_second", "uncached_prompt_tokens_per_second", "output_tokens_per_second")


def _share(latency: Any) -> float | None:  # noqa: ANN401 - a latency, or that it is missing
    return latency.get("within_slo") if isinstance(latency, Mapping) else None


def _forecast(view: _View) -> dict[str, Json] | None:
    sized = view.sized
    if not sized:
        return None
    return {
        "horizon_s": sized["horizon_s"],
        "expected_tokens_per_s": sized["tokens_per_s"],
        "highest_tokens_per_s": sized["tokens_per_s_high"],
        "unit": UNITS.get(view.role, PROMPT_UNIT),
    }


def _capacity(view: _View) -> dict[str, Json] | None:
    sized = view.sized
    if not sized or not sized["busy_replicas"]:
        return None
    return {
        "busy_replicas": sized["busy_replicas"],
        "tokens_per_s_per_busy_replica": sized["tokens_per_s"] / sized["busy_replicas"],
    }


def _wanted(view: _View) -> dict[str, Json]:
    first: Data = view.reasons[0] if view.reasons else {}
    sized = view.sized
    return {
        "uncapped": view.plan["uncapped"],
        "code": first.get("code"),
        "message": first.get("message"),
        **{key: sized.get(key) for key in ("profile", "limit_s", "attainment", "goal")},
    }


def _amendment(reason: Data) -> dict[str, Json]:
    evidence = reason["evidence"]
    return {
        "code": reason["code"],
        "message": reason["message"],
        "from": evidence.get("from"),
        "to": evidence.get("to"),
        "evidence": evidence,
    }


def _target(view: _View) -> dict[str, Json]:
    workload = view.observed.get("fleet", {}).get(view.name, {})
    known = "requested" in workload
    states = [pod["state"] for pod in workload["pods"]] if known else []
    return {
        "wanted": view.plan["wanted"],
        "lower": view.plan["lower"],
        "upper": view.plan["upper"],
        "requested": workload["requested"] if known else None,
        "ready": states.count("ready") if known else None,
        "draining": states.count("draining") if known else None,
    }


def _actions(view: _View) -> Iterator[dict[str, Json]]:
    for done in view.recorded.tick["outcome"]:
        if (done["policy"], done["variant"]) == (view.key, view.name):
            yield dict(done)


def _alternatives(view: _View) -> Iterator[dict[str, Json]]:
    """Yield what was not chosen: one side alone; one replica less and what it would miss; each other variant alone."""
    yield from _sides_alone(view)
    sized = view.sized
    if not sized:
        return
    price = view.declared(view.name).get("cost_per_replica_hour")
    alone = sized.get("replicas_alone")
    if alone and "attainment_one_less" in sized:
        yield {
            "instead": "one replica less",
            "replicas": alone - 1,
            "profile": sized["profile"],
            "limit_s": sized["limit_s"],
            "attainment": sized["attainment_one_less"],
            "goal": sized["goal"],
            "missed_by": max(0.0, sized["goal"] - sized["attainment_one_less"]),
            "saves_per_hour": price,
        }
    chosen = _cost(view, {name: plan["wanted"] for name, plan in _pool(view).items()})
    for name, plan in _pool(view).items():
        alone = _sized(plan).get("replicas_alone")
        if alone is not None and len(_pool(view)) > 1:
            cost = _cost(view, {name: alone})
            yield {
                "instead": f"only {name}",
                "replicas": alone,
                "allowed": view.declared(name).get("max_replicas"),
                "cost_per_hour": cost,
                "more_per_hour": None if cost is None or chosen is None else cost - chosen,
            }


def _sides_alone(view: _View) -> Iterator[dict[str, Json]]:
    """Yield what unified or disaggregated replicas alone would cost where the load is divided; with starts and ends."""
    divided: Data = next((reason["evidence"] for reason in view.reasons if "sized_for" in reason["evidence"]), {})
    for key, words in (
        ("unified_alone", "unified replicas alone"),
        ("disaggregated_alone", "prefill and decode alone"),
    ):
        if key in divided:
            cost = divided[key]
            yield {
                "instead": words,
                "replicas": None,
                "allowed": None,
                "cost_per_hour": cost,
                "more_per_hour": cost - divided["cost"],
            }


def _pool(view: _View) -> Mapping[str, Data]:
    """Return the plans of all variants of the same role."""
    plans: Mapping[str, Data] = view.model["variants"]
    return {name: plan for name, plan in plans.items() if view.declared(name).get("role") == view.role}


def _cost(view: _View, counts: Mapping[str, int]) -> float | None:
    """Return what counts of variants cost per hour; None where the record does not tell a price."""
    prices = [view.declared(name).get("cost_per_replica_hour") for name in counts]
    known = [float(price) for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return sum(count * price for count, price in zip(counts.values(), known, strict=True))
