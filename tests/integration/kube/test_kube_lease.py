"""Leader election between candidates on a real API server: never two at once, never none for long."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autoscaler.act.lease import LeaseElector, Terms
from autoscaler.domain.units import Instant, Seconds
from autoscaler.kube import KubeSession
from tests.integration.kube import stage
from tests.servers.control_plane import CONTROLLER_AUTO, ControlPlane

SHORT = Terms(duration=Seconds(3.0), margin=Seconds(1.0), retry=Seconds(0.2))
LONG = Terms(duration=Seconds(300.0), margin=Seconds(30.0), retry=Seconds(0.2))  # runs out in no test
PATIENCE_S = 60.0


def candidate(session: KubeSession, namespace: str, identity: str, terms: Terms = LONG) -> LeaseElector:
    now = lambda: Instant(time.time())  # noqa: E731  # the clock of a person's wall
    return LeaseElector(session, namespace=namespace, name="controller", identity=identity, now=now, terms=terms)


@asynccontextmanager
async def two(plane: ControlPlane, namespace: str) -> AsyncIterator[tuple[LeaseElector, LeaseElector]]:
    async with stage.session(plane.kubeconfig()) as left, stage.session(plane.kubeconfig()) as right:
        pair = candidate(left, namespace, "left"), candidate(right, namespace, "right")
        for elector in pair:
            await elector.start()
        try:
            yield pair
        finally:
            for elector in pair:
                await elector.stop()


async def first(*electors: LeaseElector) -> LeaseElector:
    async with asyncio.timeout(PATIENCE_S):
        waiting = {asyncio.create_task(elector.wait_leading()): elector for elector in electors}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return waiting[done.pop()]


def test_one_leads_and_hands_over_at_once(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> bool:
        async with two(control_plane, namespace) as pair:
            leader = await first(*pair)
            (other,) = (elector for elector in pair if elector is not leader)
            for _ in range(10):
                await asyncio.sleep(0.1)
                assert (leader.is_leader, other.is_leader) == (True, False)
            await leader.stop()
            assert not leader.is_leader
            assert await first(other) is other, "released, not run out"
            return other.leader == other.identity

    assert asyncio.run(play())
    spec = control_plane.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/controller")[
        "spec"
    ]
    assert (spec["leaseTransitions"], spec["holderIdentity"]) == (1, "")


@pytest.mark.slow
def test_a_leader_that_is_cut_off_stops_before_the_next_begins(control_plane: ControlPlane, namespace: str) -> None:
    """The leader's right to renew is taken away; the heir begins when the leader's last claim has surely run out."""
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]}]
    control_plane.grant(CONTROLLER_AUTO, rules, namespace=namespace)

    async def play() -> str:
        async with (
            stage.session(control_plane.kubeconfig(CONTROLLER_AUTO)) as left,
            stage.session(control_plane.kubeconfig()) as right,
        ):
            cut, heir = candidate(left, namespace, "cut", SHORT), candidate(right, namespace, "heir", SHORT)
            await cut.start()
            await first(cut)
            await heir.start()
            control_plane.grant(CONTROLLER_AUTO, [], namespace=namespace)
            await first(heir)
            assert not cut.is_leader, "two leaders at once"
            last, following = cut._renewed, heir._renewed  # noqa: SLF001 - when they were sent, exactly
            assert last is not None
            assert following is not None
            assert following - last >= SHORT.duration
            problem = cut.problem
            for elector in (cut, heir):
                await elector.stop()
            return problem

    problem = asyncio.run(play())
    assert 'grant verb "get" on "leases" of API group "coordination.k8s.io"' in problem


def test_a_dead_leader_of_the_same_name_is_succeeded_at_once(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> None:
        async with stage.session(control_plane.kubeconfig()) as session:
            before = candidate(session, namespace, "same")
            await before.start()
            await first(before)
            killed = before._task  # noqa: SLF001  # a SIGKILL releases nothing
            assert killed is not None
            killed.cancel()
            after = candidate(session, namespace, "same")
            await after.start()
            await first(after)
            await after.stop()

    asyncio.run(play())
