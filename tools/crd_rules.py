"""What the CRD holds beyond the shape of fields: sizes of lists, keys of lists, and cross-field checks in CEL.

Paths as ``autoscaler.policy.fields`` writes them. Each rule says the same as a check of the policy room, so that a
policy that the API server takes is one that the controller understands; ``tests/integration/crd`` compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ROLES = ("prefill", "decode", "unified")


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression that must hold, and what is said where it does not (a text: words in CEL cost too much)."""

    rule: str
    message: str
    field: str = ""  # where the message points, relative to the rule's place

    def as_data(self) -> dict[str, str]:
        """Return the rule as the CRD writes it."""
        return {"rule": self.rule, "message": self.message} | ({"fieldPath": self.field} if self.field else {})


def _spec_rules() -> tuple[Rule, ...]:
    minimum = "v.minReplicas > 0"
    alive = " && ".join(_each_pool(role, f"!POOL.variants.all(v, !({minimum}))") for role in ("decode", "unified"))
    asleep = " && ".join(_each_pool(role, f"POOL.variants.all(v, !({minimum}))") for role in ROLES)
    accelerators = _sum("filter(v, v.accelerator == a).map(v, v.minReplicas * v.acceleratorsPerReplica).sum()", "0")
    cost = _sum("map(v, double(v.minReplicas) * v.costPerReplicaHour).sum()", "0.0")
    names = " || ".join(
        f"(has(self.pools.{role}) && self.pools.{role}.variants.exists(v, v.name == n))" for role in ROLES
    )
    room = " && ".join(
        _each_pool(role, "POOL.variants.all(v, v.name != n || s.minReplicas[n] <= v.maxReplicas)") for role in ROLES
    )
    return (
        Rule(
            f"(has(self.scaleToZero) && self.scaleToZero.enabled) || ({alive})",
            "every variant of a pool has minReplicas 0, but scaleToZero is not enabled; give one minReplicas 1",
        ),
        Rule(
            f"!has(self.scaleToZero) || !self.scaleToZero.enabled || ({asleep})",
            "minReplicas keeps a variant awake, but scaleToZero is enabled; write 0 or leave scaleToZero out",
        ),
        Rule(
            "!has(self.budget) || !has(self.budget.acceleratorLimits) ||"
            f" self.budget.acceleratorLimits.all(a, {accelerators} <= self.budget.acceleratorLimits[a])",
            "budget.acceleratorLimits is below what minReplicas need; raise it or lower minReplicas",
        ),
        Rule(
            f"!has(self.budget) || !has(self.budget.costPerHour) || {cost} <= self.budget.costPerHour",
            "budget.costPerHour is below what minReplicas cost; raise it or lower minReplicas",
        ),
        Rule(
            f"!has(self.schedules) || self.schedules.all(s, !has(s.minReplicas) || s.minReplicas.all(n, {names}))",
            "schedules[].minReplicas names a variant that does not exist",
        ),
        Rule(
            f"!has(self.schedules) || self.schedules.all(s, !has(s.minReplicas) || s.minReplicas.all(n, {room}))",
            "schedules[].minReplicas is above maxReplicas of its variant; lower it or raise maxReplicas",
        ),
    )


def _each_pool(role: str, expression: str) -> str:
    pool = f"self.pools.{role}"
    return f"(!has({pool}) || {expression.replace('POOL', pool)})"


def _sum(of_variants: str, zero: str) -> str:
    parts = (f"(has(self.pools.{role}) ? self.pools.{role}.variants.{of_variants} : {zero})" for role in ROLES)
    return f"({' + '.join(parts)})"


def _exactly_one(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(x, x).size() == 1"


def _keys_like(pattern: str, longest: int) -> str:
    return f"self.all(k, size(k) <= {longest} && k.matches('{pattern}'))"


_SAME_TARGET = (
    "w.scaleTargetRef.kind == v.scaleTargetRef.kind && w.scaleTargetRef.name == v.scaleTargetRef.name"
    " && w.scaleTargetRef.apiVersion.split('/').size() == v.scaleTargetRef.apiVersion.split('/').size()"
    " && (!w.scaleTargetRef.apiVersion.contains('/')"
    " || w.scaleTargetRef.apiVersion.split('/')[0] == v.scaleTargetRef.apiVersion.split('/')[0])"
)
_BOTH = "has(self.prefill) && has(self.decode)"

_POOL_RULES = (
    Rule(
        f"self.variants.all(v, self.variants.exists_one(w, {_SAME_TARGET}))",
        "two variants name the same workload in scaleTargetRef; name another",
    ),
    Rule(
        "self.toleratedLosses < self.variants.map(v, v.maxReplicas).sum()",
        "toleratedLosses is not below what maxReplicas allow; lower it or raise maxReplicas",
        ".toleratedLosses",
    ),
)

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "spec": _spec_rules(),
        "spec.profiles": (
            Rule(
                "self.all(p, !has(p.match) || !has(p.match.modelName)"
                " || self.exists_one(q, has(q.match) && has(q.match.modelName)"
                " && q.match.modelName == p.match.modelName))",
                "two profiles match the same modelName; keep one of them",
            ),
            Rule(
                "self.all(p, !has(p.match) || !has(p.match.fairnessID)"
                " || self.exists_one(q, has(q.match) && has(q.match.fairnessID)"
                " && q.match.fairnessID == p.match.fairnessID))",
                "two profiles match the same fairnessID; keep one of them",
            ),
            Rule(
                "self.all(p, !has(p.match) || !has(p.match.priority)"
                " || self.exists_one(q, has(q.match) && has(q.match.priority)"
                " && q.match.priority == p.match.priority))",
                "two profiles match the same priority; keep one of them",
            ),
        ),
        "spec.profiles[]": (
            Rule(
                "self.name == 'default' ? !has(self.match) : has(self.match)",
                "the profile named default takes what no other matches and has no match; every other needs one",
            ),
        ),
        "spec.profiles[].match": (
            Rule(
                _exactly_one("modelName", "fairnessID", "priority"),
                "give exactly one of modelName, fairnessID, priority",
            ),
        ),
        "spec.pools": (
            Rule(
                f"has(self.unified) ? !has(self.prefill) && !has(self.decode) : {_BOTH}",
                "name prefill and decode together, or unified alone",
            ),
            Rule(
                f"!({_BOTH}) || self.prefill.variants.all(v, !self.decode.variants.exists(w, w.name == v.name))",
                "a variant of prefill and one of decode have the same name; rename one",
            ),
            Rule(
                f"!({_BOTH}) || self.prefill.variants.all(v, !self.decode.variants.exists(w, {_SAME_TARGET}))",
                "a variant of prefill and one of decode name the same workload in scaleTargetRef; name another",
            ),
        ),
        **{f"spec.pools.{role}": _POOL_RULES for role in ROLES},
        **{
            f"spec.pools.{role}.variants[]": (
                Rule(
                    "self.minReplicas <= self.maxReplicas",
                    "maxReplicas is below minReplicas; raise it or lower minReplicas",
                    ".maxReplicas",
                ),
            )
            for role in ROLES
        },
        **{
            path: (Rule("duration(self) > duration('0s')", "is not above 0; raise it"),)
            for path in (
                "spec.profiles[].slo.ttft",
                "spec.profiles[].slo.itl",
                "spec.schedules[].duration",
                "spec.scaleDown.drainTimeout",
                "spec.scaleToZero.after",
            )
        },
        "spec.budget": (
            Rule(
                "!has(self.sharedAs) || has(self.costPerHour)"
                " || (has(self.acceleratorLimits) && size(self.acceleratorLimits) > 0)",
                "sharedAs limits nothing; give acceleratorLimits or costPerHour, or leave sharedAs out",
                ".sharedAs",
            ),
        ),
        "spec.budget.acceleratorLimits": (
            Rule(
                _keys_like("^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", 63),
                "has a key that is not an accelerator name; write one such as H200-SXM",
            ),
        ),
        "spec.metrics.matchers": (
            Rule(
                _keys_like("^[a-zA-Z_][a-zA-Z0-9_]*$", 253),
                "has a key that is not a Prometheus label name; use letters, digits and _",
            ),
        ),
        "spec.ratio": (
            Rule(
                "!has(self.minPrefillPerDecode) || !has(self.maxPrefillPerDecode)"
                " || self.minPrefillPerDecode <= self.maxPrefillPerDecode",
                "maxPrefillPerDecode is below minPrefillPerDecode; raise it or lower minPrefillPerDecode",
            ),
        ),
        "spec.schedules[]": (
            Rule(
                "(has(self.minReplicas) && size(self.minReplicas) > 0) || self.loadFactor != 1.0",
                "asks for nothing; give minReplicas or a loadFactor other than 1",
            ),
        ),
        "spec.scheduler": (
            Rule(
                _exactly_one("inferencePool", "podSelector", "endpointsFile", "none"),
                "give exactly one of inferencePool, podSelector, endpointsFile, none",
            ),
        ),
    }
)

LIST_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "spec.profiles": "name",
        "spec.schedules": "name",
        **{f"spec.pools.{role}.variants": "name" for role in ROLES},
        "status.variants": "name",
        "status.profiles": "name",
        "status.conditions": "type",
    }
)
"""A list whose items are told apart by a field: the server refuses two of the same, and applies merge them."""

_DURATION = {"maxLength": 64}

SIZES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "spec.profiles": {"maxItems": 64},
        "spec.schedules": {"maxItems": 32},
        **{f"spec.pools.{role}.variants": {"maxItems": 16} for role in ROLES},
        "spec.budget.acceleratorLimits": {"maxProperties": 32},
        "spec.schedules[].minReplicas": {"maxProperties": 48},
        "spec.metrics.matchers": {"maxProperties": 32},
        "spec.behavior.scaleUp.policies": {"maxItems": 16},
        "spec.behavior.scaleDown.policies": {"maxItems": 16},
        "spec.profiles[].slo.ttft": _DURATION,
        "spec.profiles[].slo.itl": _DURATION,
        "spec.schedules[].duration": _DURATION,
        "spec.scaleDown.drainTimeout": _DURATION,
        "spec.scaleToZero.after": _DURATION,
        "spec.metrics.matchers{}": {"maxLength": 1024},
        "status.variants[].reasons[]": {"maxLength": 64},
        "status.decisions[].reasons[]": {"maxLength": 64},
    }
)
"""Sizes that bound the cost of rules; files have no such limits. Far beyond any policy that a person can read."""
