"""Faults of the tunnel: what goes wrong, when, for how long; each begins and ends as an event of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from autoscaler.domain.fleet import PodState
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.environment import EARLY
from autoscaler.simulate.pods import SimulatedPod


class FaultKind(StrEnum):
    """What can go wrong."""

    METRIC_GAP = "metric-gap"  # no scrape succeeds: samples grow stale
    FROZEN_METRICS = "frozen-metrics"  # scrapes succeed and repeat the same values
    PARTIAL_METRICS = "partial-metrics"  # a share of a variant's pods have no series
    PROMETHEUS_RESTART = "prometheus-restart"  # no query is answered; afterwards the samples are gone
    SLOW_STARTS = "slow-starts"  # starts that begin take `factor` times as long
    HANGING_STARTS = "hanging-starts"  # starts that begin never end
    SLOW_REPLICA = "slow-replica"  # the oldest ready pod of a variant serves at `factor` of its speed
    PICKER_RESTART = "picker-restart"  # nothing is dispatched; afterwards its counters begin at zero
    CONFLICTING_WRITER = "conflicting-writer"  # someone sets a variant to `replicas` every `every` seconds
    NODE_LOSS = "node-loss"  # a share of a variant's ready pods vanish with all they have


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Only the fields that its kind reads matter."""

    kind: FaultKind
    at: Seconds
    duration: Seconds = Seconds(0.0)
    variant: str = ""  # empty: all
    factor: float = 1.0
    share: float = 1.0
    replicas: int = 0
    every: Seconds = Seconds(30.0)


Effect: TypeAlias = Callable[[SimulatedCluster, Fault], None]


def inject(cluster: SimulatedCluster, faults: Sequence[Fault]) -> None:
    """Schedule faults in a fresh cluster.

    Raises:
        InputError: a fault names a variant that the policy does not have.
    """
    known = {variant.name for variant in cluster.policy.variants}
    for fault in faults:
        if fault.variant and fault.variant not in known:
            there = ", ".join(sorted(known))
            msg = f"fault {fault.kind} at {fault.at:g} s: no variant {fault.variant!r}; there are {there}"
            raise InputError(msg)
        begin, end = EFFECTS[fault.kind]
        cluster.env.at(fault.at, _bound(begin, cluster), fault, EARLY)
        if fault.duration > 0:
            cluster.env.at(fault.at + fault.duration, _bound(end, cluster), fault, EARLY)


def _bound(effect: Effect, cluster: SimulatedCluster) -> Callable[[Fault], None]:
    return lambda fault: effect(cluster, fault)


def _chosen(cluster: SimulatedCluster, fault: Fault) -> list[SimulatedPod]:
    """Return the oldest ``share`` of the ready pods that a fault concerns, at least one if there are any."""
    pods = [
        pod
        for pod in cluster.fleet.pods.values()
        if pod.state is PodState.READY and fault.variant in {"", pod.variant.name}
    ]
    return sorted(pods, key=lambda pod: (pod.created, pod.name))[: math.ceil(fault.share * len(pods))]


def _nothing(cluster: SimulatedCluster, fault: Fault) -> None:
    """Do nothing: the fault's effect does not end, or ends by itself."""


def _scrapes(*, succeed: bool) -> Effect:
    def effect(cluster: SimulatedCluster, _: Fault) -> None:
        cluster.scraper.skipping = not succeed

    return effect


def _values(*, move: bool) -> Effect:
    def effect(cluster: SimulatedCluster, _: Fault) -> None:
        cluster.scraper.frozen = not move

    return effect


def _hide(cluster: SimulatedCluster, fault: Fault) -> None:
    hidden = {pod.name for pod in _chosen(cluster, fault)}
    cluster.scraper.hides = lambda pod: pod.name in hidden


def _unhide(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.scraper.hides = lambda _: False


def _stop_answering(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.scraper.down = True


def _answer_again(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.scraper.down = False
    cluster.scraper.forget()


def _slow_starts(cluster: SimulatedCluster, fault: Fault) -> None:
    cluster.fleet.boot_factor = fault.factor


def _usual_starts(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.fleet.boot_factor = 1.0


def _starts(*, end: bool) -> Effect:
    def effect(cluster: SimulatedCluster, _: Fault) -> None:
        cluster.fleet.boots_hang = not end

    return effect


def _slow_replica(cluster: SimulatedCluster, fault: Fault) -> None:
    for pod in _chosen(cluster, fault)[:1]:
        cluster.fleet.slow(pod, fault.factor)
        if fault.duration > 0:
            cluster.env.at(fault.at + fault.duration, lambda slowed: cluster.fleet.slow(slowed, 1.0), pod)


def _stop_picking(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.traffic.stop_picker()


def _pick_again(cluster: SimulatedCluster, _: Fault) -> None:
    cluster.traffic.restart_picker()


def _write(cluster: SimulatedCluster, fault: Fault) -> None:
    for variant in cluster.policy.variants:
        if fault.variant in {"", variant.name} and cluster.fleet.requested[variant.name] != fault.replicas:
            cluster.fleet.set_replicas(variant.name, fault.replicas)
    again = cluster.env.now + fault.every
    if again < fault.at + fault.duration:
        cluster.env.at(again, _bound(_write, cluster), fault)


def _lose(cluster: SimulatedCluster, fault: Fault) -> None:
    for pod in _chosen(cluster, fault):
        cluster.fleet.kill(pod)


EFFECTS: dict[FaultKind, tuple[Effect, Effect]] = {
    FaultKind.METRIC_GAP: (_scrapes(succeed=False), _scrapes(succeed=True)),
    FaultKind.FROZEN_METRICS: (_values(move=False), _values(move=True)),
    FaultKind.PARTIAL_METRICS: (_hide, _unhide),
    FaultKind.PROMETHEUS_RESTART: (_stop_answering, _answer_again),
    FaultKind.SLOW_STARTS: (_slow_starts, _usual_starts),
    FaultKind.HANGING_STARTS: (_starts(end=False), _starts(end=True)),
    FaultKind.SLOW_REPLICA: (_slow_replica, _nothing),
    FaultKind.PICKER_RESTART: (_stop_picking, _pick_again),
    FaultKind.CONFLICTING_WRITER: (_write, _nothing),
    FaultKind.NODE_LOSS: (_lose, _nothing),
}
"""What happens at the beginning and at the end of each kind."""
