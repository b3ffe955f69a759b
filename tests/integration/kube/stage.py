"""What the tests of the Kubernetes edges put on stage: policies, workloads, sessions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from autoscaler.domain.fleet import Pod, Workload
from autoscaler.domain.plan import Scale, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.kube import KubeSession, Limits, Login
from autoscaler.observe.fleet import FleetSource, FleetView
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.watch import Freshness
from tests.servers.control_plane import ControlPlane

QUICK = Freshness(period=Seconds(2.0), stale_after=Seconds(5.0), resync=Seconds(600.0))
LIMITS = Limits(attempt=Seconds(5.0))
NOW = Instant(1_800_000_000.0)

APPS = "/apis/apps/v1/namespaces/{namespace}/deployments"


def deployment(
    name: str, replicas: int, *, annotations: Mapping[str, str] | None = None, pod: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a Deployment; ``annotations`` are those of its pods, ``pod`` adds to their spec."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": dict(annotations or {})},
        "spec": {"containers": [{"name": "engine", "image": "engine"}], **(pod or {})},
    }
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def variant(
    name: str, namespace: str, *, role: Role = Role.DECODE, kind: tuple[str, str] = ("apps/v1", "Deployment")
) -> Variant:
    """Return a variant whose target has its name."""
    return Variant(name, role, ScaleTarget(namespace, *kind, name), "H200", 1, 1.0, 0, 20)


def policy(namespace: str, *variants: Variant) -> SLOPolicy:
    """Return a policy with these variants."""
    return SLOPolicy(name="model", namespace=namespace, model="model", profiles=(), variants=variants)


def scale(namespace: str, name: str, replicas: int, observed: int) -> Scale:
    """Return the action that resizes a variant of ``policy``."""
    return Scale(VariantRef(f"{namespace}/model", name), replicas, observed)


@asynccontextmanager
async def session(kubeconfig: Path) -> AsyncIterator[KubeSession]:
    """Open a session without chance in its back-off."""
    async with await KubeSession.open(
        jitter=lambda: 0.5, login=Login(kubeconfig=str(kubeconfig)), limits=LIMITS
    ) as opened:
        yield opened


@asynccontextmanager
async def fleet(kubeconfig: Path, *policies: SLOPolicy, freshness: Freshness = QUICK) -> AsyncIterator[KubeFleet]:
    """Follow the targets of policies; complete when handed over."""
    async with session(kubeconfig) as opened:
        followed = KubeFleet(opened, policies, freshness)
        await followed.start()
        try:
            await followed.wait_synced(Seconds(60.0))
            yield followed
        finally:
            await followed.close()


async def view(followed: FleetSource, now: Instant = NOW) -> FleetView:
    """Return the view of the only policy."""
    (found,) = (await followed.fleets(now)).values()
    return found


async def workload(followed: FleetSource, name: str = "decode") -> Workload:
    """Return a workload that must not be missing."""
    found = (await view(followed)).workloads[name]
    assert not isinstance(found, Missing), found
    return found


async def until(
    followed: FleetSource, holds: Callable[[FleetView], bool], *, within_s: float = 60.0, what: str = "the state"
) -> FleetView:
    """Look until a condition on the view holds."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        seen = await view(followed)
        if holds(seen):
            return seen
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come in {within_s:g} s; now: {seen}"
        await asyncio.sleep(0.05)


def present(seen: FleetView, name: str = "decode") -> Workload | None:
    """Return a workload, or None where it is missing."""
    found = seen.workloads[name]
    return None if isinstance(found, Missing) else found


def missing(seen: FleetView, name: str = "decode") -> Missing | None:
    """Return why a workload is missing, or None where it is not."""
    found = seen.workloads[name]
    return found if isinstance(found, Missing) else None


def pods(seen: FleetView, name: str = "decode") -> tuple[Pod, ...]:
    """Return the pods of a workload; none where it is missing."""
    found = present(seen, name)
    return found.pods if found is not None else ()


def ready(seen: FleetView, name: str = "decode") -> int:
    """Count the ready replicas; -1 where the workload is missing."""
    found = present(seen, name)
    return found.ready if found is not None else -1


def resize(plane: ControlPlane, namespace: str, replicas: int, *, name: str = "decode", kind: str = APPS) -> None:
    """Set the replicas of a workload as the administrator."""
    path = f"{kind.format(namespace=namespace)}/{name}/scale"
    plane.request("PATCH", path, {"spec": {"replicas": replicas}})
