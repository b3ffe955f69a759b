"""The fleet as Kubernetes tells it: every policy's scale targets and their pods, always with their age in mind."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TypeAlias

from autoscaler.domain.fleet import Pod, Workload
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import ScaleTarget, Variant
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds, before
from autoscaler.errors import ObservationError
from autoscaler.kube import KubeReadError, KubeSession
from autoscaler.observe import pods, targets
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.owners import Attribution, Claim, Owners, attributed
from autoscaler.observe.pods import SeenPod
from autoscaler.observe.scales import Scales
from autoscaler.observe.targets import BUILT_IN, SeenTarget, Size
from autoscaler.observe.watch import Copy, Freshness, Subject

Others: TypeAlias = Mapping[tuple[str, ...] | None, tuple[Pod, ...]]
"""The pods that are in a group and do not lead it, by group."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A scale target that was found, and its size."""

    target: SeenTarget
    size: Size


class KubeFleet:
    """A ``FleetSource`` that follows scale targets and pods by one watch per kind and namespace.

    ``start``, then ``wait_synced``; ``fleets`` as often as wanted; ``close`` at the end. A policy is paused as soon as
    one of its targets is: prefill and decode are sized together, and to hold one while moving the other breaks both.
    """

    def __init__(self, session: KubeSession, policies: Sequence[SLOPolicy], freshness: Freshness | None = None) -> None:
        """Take whose targets to follow; the session stays the caller's to close."""
        self._session = session
        self._freshness = freshness or Freshness()
        self._targets: dict[Subject, Copy[SeenTarget]] = {}
        self._pods: dict[str, Copy[SeenPod]] = {}
        self._owners: dict[str, Owners] = {}
        self._scales = Scales(session)
        self._lost: dict[ScaleTarget, Instant] = {}  # since when a target is looked at in vain
        self._assign(policies)

    def _assign(self, policies: Sequence[SLOPolicy]) -> None:
        """Hold exactly the copies that these policies need; one that is there already stays as it is."""
        self._policies = tuple(policies)
        self._followed = frozenset(variant.target for policy in policies for variant in policy.variants)
        subjects = {_subject(target) for target in self._followed}
        namespaces = {target.namespace for target in self._followed}
        self._targets = {subject: self._targets.get(subject) or self._copy_of(subject) for subject in subjects}
        self._pods = {name: self._pods.get(name) or self._pods_of(name) for name in namespaces}
        self._owners = {name: self._owners.get(name) or Owners(self._session, name) for name in namespaces}
        self._lost = {target: since for target, since in self._lost.items() if target in self._followed}

    def _copy_of(self, subject: Subject) -> Copy[SeenTarget]:
        parse = partial(targets.seen, built_in=_built_in(subject))
        return Copy(self._session, subject, parse, self._freshness)

    def _pods_of(self, namespace: str) -> Copy[SeenPod]:
        return Copy(self._session, Subject("v1", "Pod", namespace), pods.seen, self._freshness)

    @property
    def copies(self) -> tuple[Copy[SeenTarget] | Copy[SeenPod], ...]:
        """Return every followed copy, for ``doctor`` and metrics."""
        return (*self._targets.values(), *self._pods.values())

    def pods_in(self, namespace: str) -> Collection[SeenPod]:
        """Return all pods of a namespace that is followed, of whatever workload; none of another."""
        copy = self._pods.get(namespace)
        return () if copy is None else copy.objects.values()

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        for copy in self.copies:
            copy.start()

    async def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Follow the targets of these policies, and no others, from now on; what goes on being followed is kept."""
        before = self.copies
        self._assign(policies)
        await asyncio.gather(*(copy.close() for copy in before if copy not in self.copies))
        for copy in self.copies:
            if copy not in before:
                copy.start()

    async def wait_synced(self, timeout: Seconds) -> None:  # noqa: ASYNC109  # the deadline belongs into the message
        """Wait until every copy is complete.

        Raises:
            ObservationError: some are not in time; the message says which and why.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(copy.synced.wait() for copy in self.copies))
        except TimeoutError as error:
            late = [f"{copy.subject}: {copy.why}" for copy in self.copies if not copy.synced.is_set()]
            msg = f"not read within {timeout:g} s: {'; '.join(late)}"
            raise ObservationError(msg) from error

    async def close(self) -> None:
        """Stop following."""
        await asyncio.gather(*(copy.close() for copy in self.copies))

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:
        """Return the view of every policy; see ``FleetSource``.

        Raises:
            ObservationError: ``start`` has not been called.
        """
        for copy in self.copies:
            copy.check()
        found = {target: self._found(target, now) for target in sorted(self._followed)}
        # a task for each of the others only: with 2,000 targets, tasks took as long as their pods
        unsized = {target: seen for target, seen in found.items() if isinstance(seen, SeenTarget)}
        asked = await asyncio.gather(*(self._scaled(target, seen, now) for target, seen in unsized.items()))
        known = {target: seen for target, seen in found.items() if not isinstance(seen, SeenTarget)}
        sized = known | dict(zip(unsized, asked, strict=True))
        pods_of = {namespace: await self._attributed(namespace, sized) for namespace in self._pods}
        others = {namespace: _others(copy.objects.values()) for namespace, copy in self._pods.items()}
        return {policy.key: self._view(policy, sized, pods_of, others, now) for policy in self._policies}

    def _found(self, target: ScaleTarget, now: Instant) -> Signal[Sized] | SeenTarget:
        """Return a target with its size; without it where only ``/scale`` can tell it."""
        copy = self._targets[_subject(target)]
        if gap := _gap(copy, now):
            return gap
        found = copy.objects.get(target.name)
        if found is None:
            flaw = copy.unreadable.get(target.name)
            detail = f"is not as expected: {flaw}" if flaw else "does not exist"
            return self._without(
                target, now, GapReason.INCONSISTENT if flaw else GapReason.ABSENT, f"{target} {detail}"
            )
        return found if found.size is None else self._sized(target, found, found.size)

    async def _scaled(self, target: ScaleTarget, found: SeenTarget, now: Instant) -> Signal[Sized]:
        size = await self._scales.of(target, found.version)
        if isinstance(size, KubeReadError):
            return self._without(target, now, GapReason.UNREACHABLE, str(size))
        return self._sized(target, found, size)

    def _sized(self, target: ScaleTarget, found: SeenTarget, size: Size) -> Sized:
        self._lost.pop(target, None)
        return Sized(found, size)

    def _without(self, target: ScaleTarget, now: Instant, reason: GapReason, detail: str) -> Missing:
        return Missing(reason, self._lost.setdefault(target, now), detail)

    async def _attributed(self, namespace: str, sized: Mapping[ScaleTarget, Signal[Sized]]) -> Attribution:
        claims = [
            Claim(found.target.uid, found.size.selector, owns=_built_in(_subject(target)))
            for target, found in sized.items()
            if target.namespace == namespace and isinstance(found, Sized)
        ]
        seen, owners = self._pods[namespace].objects.values(), self._owners[namespace]
        await owners.learn(tuple(seen), frozenset(claim.uid for claim in claims))
        return attributed(seen, claims, owners.above)

    def _view(
        self,
        policy: SLOPolicy,
        sized: Mapping[ScaleTarget, Signal[Sized]],
        pods_of: Mapping[str, Attribution],
        others: Mapping[str, Others],
        now: Instant,
    ) -> FleetView:
        workloads = {
            variant.name: self._workload(
                variant,
                sized[variant.target],
                pods_of[variant.target.namespace],
                others[variant.target.namespace],
                now,
            )
            for variant in policy.variants
        }
        # a pause counts however old the copy is that tells it
        known = [
            self._targets[_subject(variant.target)].objects.get(variant.target.name) for variant in policy.variants
        ]
        return FleetView(
            workloads=workloads,
            paused=any(target.paused for target in known if target),
            paused_scale_down=any(target.paused_scale_down for target in known if target),
        )

    def _workload(
        self, variant: Variant, found: Signal[Sized], attribution: Attribution, others: Others, now: Instant
    ) -> Signal[Workload]:
        if isinstance(found, Missing):
            return found
        if gap := _gap(self._pods[variant.target.namespace], now):
            return gap
        if pod := attribution.disputed.get(found.target.uid):
            return Missing(GapReason.INCONSISTENT, now, f"{variant.target} and another target both select pod {pod}")
        return Workload(
            variant=variant.name,
            requested=found.size.requested,
            pods=tuple(
                _leading(seen.pod, variant.name, others.get(seen.group, ()))
                for seen in sorted(attribution.pods[found.target.uid], key=lambda seen: seen.pod.name)
            ),
            rolling_out=found.target.rolling_out,
            disturbed=self._pods[variant.target.namespace].disturbed,
        )


def _others(seen: Collection[SeenPod]) -> Others:
    """Return the others of a namespace; looked through once, not once per variant."""
    found: dict[tuple[str, ...] | None, tuple[Pod, ...]] = {}
    for pod in seen:
        if not pod.counts and pod.group is not None:
            found[pod.group] = (*found.get(pod.group, ()), pod.pod)
    return found


def _leading(leader: Pod, variant: str, others: tuple[Pod, ...]) -> Pod:
    """Return a pod of a variant that knows of the others of its group, if it leads one."""
    withdrawn = tuple(pod.name for pod in others if pod.draining_since is not None)
    return replace(leader, variant=variant, others=tuple(pod.name for pod in others), others_withdrawn=withdrawn)


def _subject(target: ScaleTarget) -> Subject:
    return Subject(target.api_version, target.kind, target.namespace)


def _built_in(subject: Subject) -> bool:
    return (subject.api_version, subject.kind) in BUILT_IN


def _gap(copy: Copy[SeenTarget] | Copy[SeenPod], now: Instant) -> Missing | None:
    """Return why a copy cannot be used, if so."""
    heard = before(now, copy.age)
    if copy.synced.is_set():
        return Missing(GapReason.STALE, heard, f"{copy.subject}: {copy.why}") if copy.stale else None
    unserved = copy.problem is not None and copy.problem.status == HTTPStatus.NOT_FOUND
    return Missing(GapReason.ABSENT if unserved else GapReason.UNREACHABLE, heard, f"{copy.subject}: {copy.why}")
