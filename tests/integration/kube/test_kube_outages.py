"""What cannot be read is told as missing, with its reason and age; what was cut goes on."""

import asyncio
from http import HTTPStatus

import pytest

from autoscaler.domain.signal import GapReason
from autoscaler.domain.units import Seconds
from autoscaler.errors import ObservationError
from autoscaler.kube import PODS, KubeReadError
from autoscaler.observe.kube import KubeFleet
from tests.integration.kube import stage
from tests.servers.control_plane import CONTROLLER_AUTO, ControlPlane


def test_a_denied_list_is_told_with_its_verb(control_plane: ControlPlane, namespace: str) -> None:
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "watch"]}]
    control_plane.grant(CONTROLLER_AUTO, rules, namespace=namespace)
    policy = stage.policy(namespace, stage.variant("decode", namespace))

    async def play() -> None:
        async with stage.session(control_plane.kubeconfig(CONTROLLER_AUTO)) as session:
            fleet = KubeFleet(session, [policy], stage.QUICK)
            with pytest.raises(ObservationError, match="start"):
                await fleet.fleets(stage.NOW)
            await fleet.start()
            try:
                with pytest.raises(ObservationError, match='grant verb "list" on "deployments" of API group "apps"'):
                    await fleet.wait_synced(Seconds(5.0))
                gap = stage.missing(await stage.view(fleet))
                assert gap is not None
                assert (gap.reason, 'grant verb "list"' in gap.detail) == (GapReason.UNREACHABLE, True)
            finally:
                await fleet.close()

    asyncio.run(play())


@pytest.mark.usefixtures("kubelet")
@pytest.mark.slow
def test_an_outage_makes_the_fleet_stale_and_its_end_makes_it_whole(
    control_plane: ControlPlane, namespace: str
) -> None:
    async def play() -> None:
        control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 2))
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            await stage.until(fleet, lambda view: stage.ready(view) == 2)
            control_plane.kill_api_server()
            try:
                assert stage.ready(await stage.view(fleet)) == 2, "a cut is not at once a gap"
                seen = await stage.until(fleet, lambda view: stage.missing(view) is not None)
                gap = stage.missing(seen)
                assert gap is not None
                assert gap.reason is GapReason.STALE
                assert stage.NOW - gap.since > 5.0
                assert "no connection" in gap.detail
            finally:
                await asyncio.to_thread(control_plane.start_api_server)
            await stage.until(fleet, lambda view: stage.ready(view) == 2, what="recovery")
            stage.resize(control_plane, namespace, 3)
            await stage.until(fleet, lambda view: stage.ready(view) == 3, within_s=60)

    asyncio.run(play())


@pytest.mark.slow
def test_a_quiet_namespace_does_not_grow_stale(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> None:
        control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 0))
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            lists = [copy.lists for copy in fleet.copies]
            for _ in range(8):
                await asyncio.sleep(1.0)
                assert stage.missing(await stage.view(fleet)) is None
            assert [copy.lists for copy in fleet.copies] == lists, "renewed watches need no list"

    asyncio.run(play())


def test_a_watch_from_a_forgotten_version_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> None:
        async with (
            stage.session(control_plane.kubeconfig()) as session,
            session.watch(PODS.at(namespace), "1", Seconds(5.0)) as events,
        ):
            async for _ in events:
                pass

    with pytest.raises(KubeReadError) as gone:
        asyncio.run(play())
    assert gone.value.status == HTTPStatus.GONE
