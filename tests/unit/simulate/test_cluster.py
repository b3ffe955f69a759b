"""Pods that start, serve, drain and die, told as short stories."""

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.domain.fleet import PodState
from autoscaler.domain.membership import Drain, Membership
from autoscaler.domain.plan import Readmit, VariantRef, Withdraw
from autoscaler.domain.pool import Role
from autoscaler.domain.record import Result
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.results import Fate
from autoscaler.simulate.run import stay
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.traffic import LEASE_S
from tests.unit.simulate.tunnels import H200, QUICK, evenly, policy, scale, tunnel

PAIR = {Role.PREFILL: 1, Role.DECODE: 1}


def ready(world: SimulatedCluster, name: str) -> list[str]:
    return [pod.name for pod in world.fleet.of(name, PodState.READY)]


def test_a_new_replica_serves_after_its_start_up_time_and_booting_is_paid() -> None:
    world = tunnel(evenly(100, 300.0), PAIR)
    world.env.run(100.0)
    world.act([scale(world, "decode", 3)])
    assert len(world.fleet.of("decode", PodState.STARTING)) == 2
    world.env.run(159.9)
    assert len(ready(world, "decode")) == 1
    world.env.run(160.1)
    assert len(ready(world, "decode")) == 3
    world.fleet.settle()
    assert world.fleet.bills["decode"].booting_s == pytest.approx(120.0)
    assert world.fleet.bills["decode"].ready_s == pytest.approx(160.1 + 2 * 0.1)


def test_without_inventory_replicas_stay_pending_cost_nothing_and_start_when_a_node_is_free() -> None:
    world = tunnel(evenly(100, 300.0), PAIR, inventory=2)
    world.act([scale(world, "prefill", 4)])
    assert [len(world.fleet.of("prefill", state)) for state in (PodState.STARTING, PodState.PENDING)] == [1, 2]
    assert world.fleet.workload("prefill").coming == 3
    world.env.run(50.0)
    world.fleet.settle()
    assert world.fleet.bills["prefill"].total_s == pytest.approx(100.0)
    world.fleet.kill(world.fleet.of("prefill", PodState.STARTING)[0])
    assert [len(world.fleet.of("prefill", state)) for state in (PodState.STARTING, PodState.PENDING)] == [1, 2]


def test_a_deleted_replica_that_was_not_drained_loses_what_it_has() -> None:
    world = tunnel(evenly(200, 20.0, output=300), {Role.PREFILL: 1, Role.DECODE: 2})
    world.env.run(10.0)
    world.act([scale(world, "decode", 1)])
    results = stay(world).results
    assert world.traffic.lost == (results.fate == Fate.LOST).sum() > 5
    assert (results.fate != Fate.UNFINISHED).all()


def test_a_withdrawn_replica_empties_and_its_deletion_loses_nothing() -> None:
    world = tunnel(evenly(200, 20.0, output=300), {Role.PREFILL: 2, Role.DECODE: 2})
    world.env.run(10.0)
    victims = [Withdraw(VariantRef(world.policy.key, name), ready(world, name)[0]) for name in ("prefill", "decode")]
    assert all(result.result is Result.DONE for result in world.act(victims).results)
    before = {victim.pod: len(world.fleet.pods[victim.pod].assigned) for victim in victims}
    world.env.run(15.0)
    drained = [world.fleet.pods[victim.pod] for victim in victims]
    assert before[drained[1].name] > 0
    assert all(pod.engine.idle and not pod.assigned and pod.state is PodState.DRAINING for pod in drained)
    world.act([scale(world, "prefill", 1), scale(world, "decode", 1)])
    assert all(victim.pod not in world.fleet.pods for victim in victims)
    results = stay(world).results
    assert results.done.all()
    assert world.traffic.lost == 0


def test_a_grace_period_lets_requests_finish() -> None:
    settings = ClusterSettings(grace=Seconds(30.0))
    world = tunnel(evenly(200, 20.0, output=300), {Role.PREFILL: 2, Role.DECODE: 2}, settings=settings)
    world.env.run(10.0)
    world.act([scale(world, "prefill", 1), scale(world, "decode", 1)])
    assert len(world.fleet.of("decode", PodState.TERMINATING)) == 1
    assert stay(world).results.done.all()
    assert not world.fleet.of("decode", PodState.TERMINATING)


def test_a_readmitted_replica_gets_requests_again() -> None:
    world = tunnel(evenly(200, 20.0), {Role.PREFILL: 1, Role.DECODE: 2})
    (name, _) = ready(world, "decode")
    ref = VariantRef(world.policy.key, "decode")
    world.act([Withdraw(ref, name)])
    world.env.run(5.0)
    served = world.fleet.pods[name].engine.meters.prompt_tokens
    assert served <= 1000
    assert world.fleet.pods[name].seen().drain_deadline is not None
    world.act([Readmit(ref, name)])
    world.env.run(20.0)
    assert world.fleet.pods[name].engine.meters.prompt_tokens > 10_000


def test_a_replica_withdrawn_while_it_starts_never_enters_the_picker_and_goes_before_those_that_serve() -> None:
    world = tunnel(evenly(200, 100.0), {Role.PREFILL: 1, Role.DECODE: 2})
    world.act([scale(world, "decode", 3)])
    (starting,) = world.fleet.of("decode", PodState.STARTING)
    note = Drain(Instant(0.0), Instant(600.0))
    act = Withdraw(VariantRef(world.policy.key, "decode"), starting.name, starting.name, note)
    assert [world.act([act]).results[0].result for _ in range(2)] == [Result.DONE, Result.UNCHANGED]
    assert starting.seen().state is PodState.DRAINING
    world.env.run(70.0)
    told = world.traffic.membership()
    assert isinstance(told, Membership)
    assert told.drops(starting.name)
    assert starting.state is PodState.DRAINING
    assert starting.engine.meters.requests == 0
    world.act([scale(world, "decode", 2)])
    assert starting.name not in world.fleet.pods


def test_of_withdrawn_replicas_the_one_noted_empty_is_deleted() -> None:
    world = tunnel(evenly(10, 20.0), {Role.PREFILL: 1, Role.DECODE: 3})
    ref, (first, second, third) = VariantRef(world.policy.key, "decode"), ready(world, "decode")
    begun = Drain(Instant(0.0), Instant(600.0))
    world.act([Withdraw(ref, third, third, begun), Withdraw(ref, first, first, begun)])
    world.act([Withdraw(ref, first, first, Drain(Instant(0.0), Instant(600.0), Instant(5.0), Instant(9.0)))])
    world.act([scale(world, "decode", 2)])
    assert sorted(pod.name for pod in world.fleet.of("decode")) == [second, third]


def test_the_picker_lists_who_serves_and_nothing_while_it_is_down() -> None:
    world = tunnel(evenly(10, 20.0), {Role.PREFILL: 1, Role.DECODE: 2})
    listed, withdrawn = ready(world, "decode")
    world.act([Withdraw(VariantRef(world.policy.key, "decode"), withdrawn)])
    told = world.traffic.membership()
    assert isinstance(told, Membership)
    assert told.lists(listed)
    assert told.drops(withdrawn)
    world.traffic.stop_picker()
    assert isinstance(world.traffic.membership(), Missing)


@pytest.mark.parametrize("name", ["nobody", "decode-1"])
def test_withdrawing_what_is_not_there_is_refused(name: str) -> None:
    world = tunnel(evenly(10, 20.0), PAIR)
    world.act([scale(world, "decode", 0)])
    (result,) = world.act([Withdraw(VariantRef(world.policy.key, "decode"), name)]).results
    assert result.result is Result.REFUSED


def test_the_same_order_twice_changes_nothing() -> None:
    world = tunnel(evenly(10, 20.0), PAIR)
    first, second = (world.act([scale(world, "decode", 2)]).results[0].result for _ in range(2))
    assert (first, second) == (Result.DONE, Result.UNCHANGED)


def test_pods_that_do_not_serve_are_deleted_before_those_that_do() -> None:
    world = tunnel(evenly(10, 200.0), {Role.PREFILL: 1, Role.DECODE: 2})
    serving = ready(world, "decode")
    world.act([scale(world, "decode", 3)])
    world.act([scale(world, "decode", 2)])
    assert ready(world, "decode") == serving
    assert len(world.fleet.of("decode")) == 2


def test_a_start_that_fails_is_tried_again() -> None:
    world = tunnel(evenly(10, 2000.0), PAIR, startup=StartUp(Seconds(60.0), failing_share=0.6), seed=3)
    world.act([scale(world, "decode", 6)])
    world.env.run(1500.0)
    pods = world.fleet.of("decode", PodState.READY)
    assert len(pods) == 6
    assert sum(pod.restarts for pod in pods) > 0


def test_requests_wait_at_the_picker_until_a_decode_replica_is_there() -> None:
    world = tunnel(evenly(20, 10.0), {Role.PREFILL: 1, Role.DECODE: 0})
    world.env.run(10.0)
    assert len(world.traffic.held) == 20
    world.act([scale(world, "decode", 1)])
    results = stay(world).results
    assert results.done.all()
    assert results.ttft_s.min() > 55.0


def test_without_prefill_replicas_the_decode_replica_computes_prompts() -> None:
    world = tunnel(evenly(20, 10.0), {Role.PREFILL: 0, Role.DECODE: 1})
    results = stay(world).results
    assert results.done.all()
    (pod,) = world.fleet.of("decode")
    assert pod.engine.meters.computed_tokens == 20 * 1000


def test_a_lost_node_is_replaced_and_its_requests_are_counted() -> None:
    world = tunnel(evenly(300, 30.0, output=300), {Role.PREFILL: 1, Role.DECODE: 2})
    world.env.run(10.0)
    (victim, _) = world.fleet.of("decode", PodState.READY)
    had = len(victim.assigned)
    world.fleet.kill(victim)
    assert world.traffic.lost == had > 0
    assert len(world.fleet.of("decode", PodState.STARTING)) == 1


def test_kv_that_nobody_pulls_is_freed_when_its_lease_ends() -> None:
    small = replace(H200, limits=replace(H200.limits, kv_capacity_tokens=1500.0))
    trace = evenly(3, 0.3, prompt=1000, output=400)
    supplies = {"prefill": Supply(H200, QUICK, 1), "decode": Supply(small, QUICK, 1)}
    world = SimulatedCluster(policy(Role.PREFILL, Role.DECODE), trace, supplies)
    world.env.run(1.0)
    prefill = world.fleet.of("prefill")[0].engine
    assert prefill.kv_tokens == 2000  # the decode replica has memory for one prompt only: two are pinned
    world.fleet.kill(world.fleet.of("decode")[0])
    world.env.run(1.0 + LEASE_S - 0.1)
    assert prefill.kv_tokens == 2000
    world.env.run(1.0 + LEASE_S + 0.1)
    assert prefill.kv_tokens == 0


def test_the_same_seed_gives_the_same_bytes() -> None:
    def flown(seed: int) -> tuple[bytes, float]:
        world = tunnel(evenly(500, 200.0), PAIR, startup=StartUp(Seconds(30.0), 1.5), seed=seed)
        world.act([scale(world, "decode", 3)])
        run = stay(world)
        return run.results.finish_s.tobytes(), run.bills["decode"].booting_s

    assert flown(1) == flown(1)
    assert flown(1)[1] != flown(2)[1]


def test_a_variant_without_supply_is_named() -> None:
    with pytest.raises(InputError, match="none for variant decode"):
        SimulatedCluster(policy(Role.PREFILL, Role.DECODE), evenly(1, 1.0), {"prefill": Supply(H200, QUICK, 1)})


def test_a_profile_that_the_policy_does_not_know_is_named() -> None:
    supplies = {"unified": Supply(H200, QUICK, 1)}
    with pytest.raises(InputError, match="profile rag is not in the policy, which has chat"):
        SimulatedCluster(policy(Role.UNIFIED), evenly(2, 1.0, profiles=2), supplies)


def test_ttft_and_itl_of_an_idle_pair_are_those_of_its_model() -> None:
    world = tunnel(evenly(5, 50.0, prompt=2000, output=101), PAIR)
    results = stay(world).results
    handover = float(H200.handover.latency_s(2000)) - 2.5 * H200.step.base_s
    first_step = float(H200.step.step_s(1, 2000))
    expected = float(H200.prefill.latency_s(2000)) + handover + first_step
    assert results.ttft_s == pytest.approx(np.full(5, expected), rel=1e-4)
    assert results.itl_s == pytest.approx(np.full(5, float(H200.step.step_s(1, 2050.5))), rel=1e-3)


def test_a_request_that_waits_at_the_picker_for_too_long_is_rejected() -> None:
    settings = ClusterSettings(hold_limit=Seconds(20.0))
    world = tunnel(evenly(20, 10.0), {Role.PREFILL: 1, Role.DECODE: 0}, settings=settings)
    world.env.run(1.0)
    assert len(world.traffic.held) == 3
    world.env.run(100.0)
    assert (world.traffic.results().fate == Fate.REJECTED).all()
    assert not world.traffic.held
    assert not world.traffic.outstanding


def test_a_replica_whose_start_failed_is_paid_while_it_waits_for_the_next() -> None:
    world = tunnel(evenly(10, 500.0), PAIR, startup=StartUp(Seconds(60.0), failing_share=0.6), seed=3)
    world.act([scale(world, "decode", 2)])
    world.env.run(400.0)
    (pod,) = (pod for pod in world.fleet.of("decode") if pod.created == 0.0 and pod.scheduled == 0.0 and pod.restarts)
    world.fleet.settle()
    assert pod.restarts > 0
    assert world.fleet.bills["decode"].total_s == pytest.approx(800.0)
