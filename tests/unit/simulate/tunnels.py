"""Small tunnels for tests."""

from collections.abc import Mapping, Sequence

import numpy as np

from autoscaler.domain.plan import Scale, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.performance.profile import load_profile
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.trace import Trace

H200 = load_profile("h200-tp1-llama-3.1-8b").model
QUICK = StartUp(Seconds(60.0))


def variant(role: Role, name: str | None = None, most: int = 10) -> Variant:
    named = name or role.value
    return Variant(named, role, ScaleTarget("test", "apps/v1", "Deployment", named), "H200-SXM", 1, 3.0, 0, most)


def policy(*roles: Role, profiles: Sequence[str] = ("chat",)) -> SLOPolicy:
    slo = SLO(Seconds(1.0), Seconds(0.05))
    return SLOPolicy(
        "p", "test", "m", tuple(RequestProfile(name, slo) for name in profiles), tuple(variant(role) for role in roles)
    )


def evenly(count: int, seconds: float, *, prompt: int = 1000, output: int = 100, profiles: int = 1) -> Trace:
    return Trace(
        arrival_s=np.linspace(0.0, seconds, count, endpoint=False),
        input_tokens=np.full(count, prompt, dtype=np.int32),
        output_tokens=np.full(count, output, dtype=np.int32),
        profile=(np.arange(count) % profiles).astype(np.uint8),
        profiles=("chat", "rag")[:profiles],
    )


def tunnel(
    trace: Trace,
    fleet: Mapping[Role, int],
    *,
    startup: StartUp = QUICK,
    inventory: int | None = None,
    settings: ClusterSettings | None = None,
    seed: int = 0,
) -> SimulatedCluster:
    supplies = {role.value: Supply(H200, startup, count, inventory) for role, count in fleet.items()}
    chosen = policy(*fleet, profiles=trace.profiles)
    return SimulatedCluster(chosen, trace, supplies, settings=settings, seed=seed)


def scale(world: SimulatedCluster, name: str, replicas: int) -> Scale:
    return Scale(VariantRef(world.policy.key, name), replicas, world.fleet.requested[name])
