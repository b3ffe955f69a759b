"""Whatever is done to a cluster, requests are conserved and memory comes back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.domain.plan import Action, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.load import Lengths, Stream, compose, constant
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.results import Fate
from autoscaler.simulate.router import Routing
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.traffic import LEASE_S
from tests.unit.simulate.tunnels import H200, policy

SECONDS = 60.0
ROLES = {"pair": (Role.PREFILL, Role.DECODE), "unified": (Role.UNIFIED,)}

deeds = st.lists(
    st.tuples(st.floats(0.0, SECONDS), st.sampled_from(["scale", "withdraw", "readmit", "kill"]), st.integers(0, 5)),
    max_size=12,
)


def busy(roles: tuple[Role, ...], seed: int, settings_: ClusterSettings, memory: float) -> SimulatedCluster:
    stream = Stream(
        "chat", constant(6.0, SECONDS), Lengths(1500, 0.8, most=6000), Lengths(150, 0.8, most=900),
        shared_prefix_tokens=1024, prefix_groups=3,
    )  # fmt: skip
    model = replace(H200, limits=replace(H200.limits, kv_capacity_tokens=memory))
    startup = StartUp(Seconds(5.0), 1.5, failing_share=0.2)
    supplies = {role.value: Supply(model, startup, 2, inventory=4) for role in roles}
    return SimulatedCluster(policy(*roles), compose([stream], seed), supplies, settings=settings_, seed=seed)


def do(world: SimulatedCluster, deed: str, number: int) -> None:
    """Do something to the cluster, as far as there is anything to do it to."""
    variants = [variant.name for variant in world.policy.variants]
    name = variants[number % len(variants)]
    ref, pods = VariantRef(world.policy.key, name), world.fleet.of(name)
    actions: list[Action] = []
    if deed == "scale":
        actions.append(Scale(ref, 1 + number % 4, world.fleet.requested[name]))
    elif pods and deed == "kill":
        world.fleet.kill(pods[number % len(pods)])
    elif pods:
        actions.append((Withdraw if deed == "withdraw" else Readmit)(ref, pods[number % len(pods)].name))
    world.act(actions)


@pytest.mark.parametrize("roles", ["pair", "unified"])
@given(
    todo=deeds,
    seed=st.integers(0, 1000),
    routing=st.sampled_from(list(Routing)),
    caching=st.booleans(),
    grace=st.sampled_from([0.0, 8.0]),
    memory=st.sampled_from([9000.0, 40_000.0, 800_000.0]),
)
@settings(max_examples=50, deadline=None)
def test_requests_and_memory_are_conserved(
    *,
    roles: str,
    todo: list[tuple[float, str, int]],
    seed: int,
    routing: Routing,
    caching: bool,
    grace: float,
    memory: float,
) -> None:
    chosen = ClusterSettings(routing=routing, prefix_caching=caching, grace=Seconds(grace))
    world = busy(ROLES[roles], seed, chosen, memory)
    for at, deed, number in sorted(todo):
        world.env.run(at)
        do(world, deed, number)
    for variant in world.policy.variants:  # nobody stays withdrawn, so that all can end
        for pod in world.fleet.of(variant.name):
            world.act([Readmit(VariantRef(world.policy.key, variant.name), pod.name)])
    world.env.run(20_000.0)
    results = world.traffic.results()
    assert not world.traffic.outstanding
    assert not world.traffic.held
    assert set(results.fate.tolist()) <= {Fate.DONE, Fate.LOST}
    assert (results.fate == Fate.LOST).sum() == world.traffic.lost
    assert np.isfinite(results.ttft_s[results.done]).all()
    assert (
        results.finish_s[results.done] >= results.trace.arrival_s[results.done] + results.ttft_s[results.done] - 1e-3
    ).all()
    world.env.run(20_000.0 + LEASE_S)
    for pod in world.fleet.pods.values():
        assert not pod.assigned
        assert pod.engine.idle, pod.name
        assert pod.engine.kv_tokens == pod.engine.queued_tokens == pod.engine.transferring == 0
