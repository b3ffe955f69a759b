"""Reasons: why a count is what it is, as data with the numbers that decided it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

Evidence: TypeAlias = Mapping[str, float | int | str]


class Code(StrEnum):
    """Why a count is what it is. Bounded and stable: part of the output, of metrics and of alerts."""

    TTFT_AT_RISK = "TTFT_AT_RISK"
    ITL_AT_RISK = "ITL_AT_RISK"
    KV_FULL = "KV_FULL"
    SEQUENCES_FULL = "SEQUENCES_FULL"
    BACKLOG = "BACKLOG"
    FORECAST = "FORECAST"
    NO_LOAD = "NO_LOAD"
    HELD_ON_GAP = "HELD_ON_GAP"
    HELD_SCALE_DOWN = "HELD_SCALE_DOWN"
    WITHIN_TOLERANCE = "WITHIN_TOLERANCE"
    STABILIZED = "STABILIZED"
    STEP_LIMITED = "STEP_LIMITED"
    BOUNDED = "BOUNDED"
    RATIO_GUARD = "RATIO_GUARD"
    OVER_BUDGET = "OVER_BUDGET"
    SCHEDULED = "SCHEDULED"
    PAUSED = "PAUSED"
    OVERLOADED = "OVERLOADED"
    DRAINING = "DRAINING"
    UNCONFIRMED = "UNCONFIRMED"
    FOREIGN_WRITER = "FOREIGN_WRITER"
    START_OVERDUE = "START_OVERDUE"
    HANDOVER_BROKEN = "HANDOVER_BROKEN"
    IMBALANCED = "IMBALANCED"
    AWAITS_RELEASE = "AWAITS_RELEASE"
    IDLE = "IDLE"
    KEPT_AWAKE = "KEPT_AWAKE"
    WOKEN = "WOKEN"
    SPARED = "SPARED"
    BREACHED = "BREACHED"
    DIVIDED = "DIVIDED"
    SPREAD = "SPREAD"
    CONCENTRATED = "CONCENTRATED"


MESSAGES: Mapping[Code, str] = MappingProxyType(
    {
        Code.TTFT_AT_RISK: "with fewer, {profile} would miss its TTFT limit of {limit_s:g} s",
        Code.ITL_AT_RISK: "with fewer, {profile} would miss its ITL limit of {limit_s:g} s",
        Code.KV_FULL: "sized by KV memory",
        Code.SEQUENCES_FULL: "sized by the engine's limit of sequences",
        Code.BACKLOG: "sized by work that is already queued",
        Code.FORECAST: "sized for load expected in {horizon_s:g} s, when a replica ordered now serves",
        Code.NO_LOAD: "no load: the minimum",
        Code.HELD_ON_GAP: "held: {signal} is {gap}",
        Code.HELD_SCALE_DOWN: "a scale-down waits: {why}",
        Code.WITHIN_TOLERANCE: "held: the change lies within the tolerance",
        Code.STABILIZED: "a recommendation within the stabilization window decides",
        Code.STEP_LIMITED: "behavior limits the step from {from} to {to}",
        Code.BOUNDED: "minReplicas or maxReplicas changes {from} to {to}",
        Code.RATIO_GUARD: "the ratio guard changes {from} to {to}",
        Code.OVER_BUDGET: "the budget allows {to} of {from}",
        Code.SCHEDULED: "schedule {schedule} asks for at least {to}",
        Code.PAUSED: "paused by annotation",
        Code.DRAINING: "on the way to {to}: {withdrawn} withdrawn, {unrouted} of them get nothing new, {empty} empty",
        Code.UNCONFIRMED: "no replica is removed: {why}",
        Code.FOREIGN_WRITER: "held: {who}",
        Code.START_OVERDUE: "{overdue} replicas should have started long ago: none is counted on before it comes",
        Code.HANDOVER_BROKEN: "decode computes {share:.0%} of its prompts itself: mend the hand-over, not the size",
        Code.IMBALANCED: "{pod} is full while others are idle: mend the routing, not the size",
        Code.AWAITS_RELEASE: "{to} of {from} for now: the budget is still held by replicas that leave",
        Code.IDLE: "no request for {quiet_s:.0f} s: to zero",
        Code.KEPT_AWAKE: "the last replica stays until no request has come for {after_s:g} s",
        Code.WOKEN: "from zero: {queued:g} requests wait, {requests_per_s:.3g} come per second",
        Code.SPARED: "{losses} more in the role, so that as many may be lost",
        Code.BREACHED: "{profile} keeps {limit_s:g} s for {within:.1%} now: {slow} of {ready} replicas are slower",
        Code.DIVIDED: "unified and disaggregated replicas divide the load: {share:.0%} comes here",
        Code.SPREAD: "{to}, not {from}: if any variant fails, {left:.0%} of the load is done; {more_per_hour:+.4g}/h",
        Code.CONCENTRATED: "if this variant fails, {left:.0%} of the load is done, not {due:.0%}",
        Code.OVERLOADED: "even {to} replicas keep {limit_s:g} s for {attainment:.1%} of {profile}, not {goal:.1%}",
    }
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One step in the chain from demand to target, with the numbers that decided it."""

    code: Code
    evidence: Evidence = field(default_factory=lambda: MappingProxyType({}))

    def __hash__(self) -> int:
        return hash((self.code, tuple(sorted(self.evidence.items(), key=str))))

    @property
    def message(self) -> str:
        """Say it in a sentence."""
        return MESSAGES[self.code].format_map(self.evidence)
