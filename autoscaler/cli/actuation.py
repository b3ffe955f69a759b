"""Joins what changes the cluster: counts by one room, membership by another, and the rule that only the leader acts."""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from autoscaler.act.kube import KubeActuator
from autoscaler.act.lease import LeaseElector, Terms
from autoscaler.act.metric import MetricActuator
from autoscaler.domain.plan import Action, Scale
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import ActionResult, Outcome, Result
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.kube import KubeSession, Login
from autoscaler.ports import Actuator
from autoscaler.publish.kube import KubeMembership
from autoscaler.settings import Acting

Follow: TypeAlias = Callable[[Sequence[SLOPolicy]], None]

LEASE = "disagg-autoscaler"
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Actuation:
    """An ``Actuator`` that hands every action to whoever can carry it out, in the given order.

    Removals need no withdrawal of the same tick: the drain acts on notes that the cluster has already shown.
    """

    def __init__(self, *, scaling: Actuator, membership: Actuator) -> None:
        """Take who changes counts, and who changes membership."""
        self._scaling = scaling
        self._membership = membership

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out runs of actions of one kind, one run after the other."""
        results: list[ActionResult] = []
        for scales, run in groupby(actions, key=lambda action: isinstance(action, Scale)):
            actuator = self._scaling if scales else self._membership
            results += (await actuator.apply(tuple(run))).results
        return Outcome(tuple(results))


class OnlyLeader:
    """An ``Actuator`` that acts only while its process leads, and has led since before the tick's observation.

    What was observed as a stand-by is not acted on: whoever led until then may have changed it meanwhile. The session
    behind the inner actuator asks again before each single write.
    """

    def __init__(self, inner: Actuator, is_leader: Callable[[], bool], leader: Callable[[], str]) -> None:
        """Take what to guard, and how to ask who leads."""
        self._inner = inner
        self._is_leader = is_leader
        self._leader = leader
        self._led_when_last_tick_ended = False

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Act, or say why not."""
        try:
            if self._is_leader() and self._led_when_last_tick_ended:
                return await self._inner.apply(actions)
            why = (
                "leads since this tick, acts from the next"
                if self._is_leader()
                else f"{self._leader() or 'nobody'} leads"
            )
            return Outcome(tuple(ActionResult(action, Result.REFUSED, f"stand-by: {why}") for action in actions))
        finally:
            self._led_when_last_tick_ended = self._is_leader()


async def begin(
    stack: AsyncExitStack,
    login: Login,
    acting: Acting,
    jitter: Callable[[], float],
    now: Callable[[], Instant],
    terms: Terms | None = None,
) -> tuple[Follow, Actuator, Callable[[], bool]]:
    """Return who must know the policies, the actuator for all actions, and who tells whether to act; runs for a Lease.

    Writes have a session of their own, which asks for the office before each of them.
    """
    reading = await stack.enter_async_context(await KubeSession.open(jitter=jitter, login=login))
    if acting.lease is None:
        return *_joined(reading, acting), lambda: True
    namespace, name = acting.lease
    identity = f"{socket.gethostname()}-{uuid4().hex[:8]}"
    elector = LeaseElector(reading, namespace=namespace, name=name, identity=identity, now=now, terms=terms)
    await elector.start()
    stack.push_async_callback(elector.stop)
    writing = await stack.enter_async_context(
        await KubeSession.open(jitter=jitter, login=login, may_write=lambda: elector.is_leader)
    )
    follow, joined = _joined(writing, acting)
    leads = _leads(elector)
    return follow, OnlyLeader(joined, leads, lambda: elector.leader), leads


def _leads(elector: LeaseElector) -> Callable[[], bool]:
    return lambda: elector.is_leader


def _joined(session: KubeSession, acting: Acting) -> tuple[Follow, Actuator]:
    membership = KubeMembership(session)
    if acting.by_metric:
        return _nothing, Actuation(scaling=MetricActuator(), membership=membership)
    scaling = KubeActuator(session, ())
    return scaling.follow, Actuation(scaling=scaling, membership=membership)


def _nothing(policies: Sequence[SLOPolicy]) -> None:
    """Follow nobody: who publishes counts needs no targets."""


def lease(text: str) -> tuple[str, str] | None:
    """Return namespace and name of the Lease that ``--lease`` asks for.

    ``auto`` is a Lease in the own namespace of a process that runs in a cluster, and none elsewhere.

    Raises:
        InputError: the text has another form.
    """
    if text == "none":
        return None
    if text == "auto":
        if "KUBERNETES_SERVICE_HOST" not in os.environ:
            return None
        own = os.environ.get("POD_NAMESPACE") or OWN_NAMESPACE.read_text(encoding="utf-8").strip()
        return own, LEASE
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        msg = f"--lease: {text!r} names no Lease; write NAMESPACE/NAME, auto or none"
        raise InputError(msg)
    return namespace, name
