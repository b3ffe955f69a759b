"""Each fault, and what observations say of it."""

from collections.abc import Sequence

import pytest

from autoscaler.domain.fleet import PodState
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.faults import Fault, FaultKind, inject
from tests.unit.simulate.tunnels import evenly, scale, tunnel


def world(*faults: Fault, replicas: int = 2) -> SimulatedCluster:
    made = tunnel(evenly(1200, 600.0), {Role.PREFILL: replicas, Role.DECODE: replicas})
    inject(made, faults)
    return made


def seen(cluster: SimulatedCluster, at: float) -> Observation:
    cluster.env.run(at)
    return cluster.scraper.observation(Instant(at))


def model(observation: Observation) -> ModelObservation:
    (found,) = observation.models.values()
    return found


def reasons(values: Sequence[object]) -> set[GapReason | None]:
    return {value.reason if isinstance(value, Missing) else None for value in values}


def fault(kind: FaultKind, at: float = 300.0, hold: float = 120.0, **more: float | str) -> Fault:
    return Fault(kind, Seconds(at), Seconds(hold), **more)  # type: ignore[arg-type]


def test_without_faults_load_is_seen_as_it_is() -> None:
    observation = seen(world(), 300.0)
    load = model(observation).loads["chat"]
    assert not observation.gaps
    assert load.requests_per_second == pytest.approx(2.0, rel=0.02)
    assert load.prompt_tokens_per_second == pytest.approx(2000.0, rel=0.02)
    assert load.uncached_prompt_tokens_per_second == pytest.approx(2000.0, rel=0.02)
    assert load.output_tokens_per_second == pytest.approx(200.0, rel=0.02)
    engines = model(observation).engines
    assert sum(float(str(e.output_tokens_per_second)) for n, e in engines.items() if "decode" in n) == pytest.approx(
        200.0, rel=0.05
    )


def test_before_the_second_scrape_nothing_is_known() -> None:
    load = model(seen(world(), 1.0)).loads["chat"]
    assert reasons([load.requests_per_second, load.ttft, load.queued_requests]) == {GapReason.ABSENT}


def test_a_gap_makes_everything_stale_and_ends() -> None:
    cluster = world(fault(FaultKind.METRIC_GAP))
    assert model(seen(cluster, 340.0)).loads["chat"].requests_per_second == pytest.approx(2.0, rel=0.02)
    stale = seen(cluster, 400.0)
    rate = model(stale).loads["chat"].requests_per_second
    assert isinstance(rate, Missing)
    assert (rate.reason, rate.since) == (GapReason.STALE, 285.0)
    assert [gap.missing.reason for gap in stale.gaps] == [GapReason.STALE]
    assert not model(stale).engines
    assert model(seen(cluster, 600.0)).loads["chat"].requests_per_second == pytest.approx(2.0, rel=0.02)


def test_frozen_values_read_as_no_new_requests() -> None:
    cluster = world(fault(FaultKind.FROZEN_METRICS, hold=200.0))
    rate = model(seen(cluster, 480.0)).loads["chat"].requests_per_second
    assert rate == 0.0


def test_missing_pods_are_named_in_gaps() -> None:
    cluster = world(fault(FaultKind.PARTIAL_METRICS, variant="decode", share=0.5))
    observation = seen(cluster, 330.0)
    assert [(gap.signal, gap.subject, gap.missing.reason) for gap in observation.gaps] == [
        ("engine", "decode-2", GapReason.PARTIAL)
    ]
    assert not seen(cluster, 600.0).gaps


def test_a_prometheus_that_is_down_is_an_error_and_has_forgotten_afterwards() -> None:
    cluster = world(fault(FaultKind.PROMETHEUS_RESTART, hold=20.0))
    with pytest.raises(ObservationError, match="does not answer"):
        seen(cluster, 310.0)
    rate = model(seen(cluster, 321.0)).loads["chat"].requests_per_second
    assert isinstance(rate, Missing)
    assert rate.reason is GapReason.ABSENT
    assert model(seen(cluster, 400.0)).loads["chat"].requests_per_second == pytest.approx(2.0, rel=0.05)


def test_starts_take_three_times_as_long() -> None:
    cluster = world(fault(FaultKind.SLOW_STARTS, factor=3.0))
    cluster.env.run(310.0)
    cluster.act([scale(cluster, "decode", 3)])
    cluster.env.run(489.0)
    assert len(cluster.fleet.of("decode", PodState.STARTING)) == 1
    cluster.env.run(491.0)
    assert len(cluster.fleet.of("decode", PodState.READY)) == 3


def test_starts_that_hang_never_end() -> None:
    cluster = world(fault(FaultKind.HANGING_STARTS))
    cluster.env.run(310.0)
    cluster.act([scale(cluster, "decode", 3)])
    cluster.env.run(5000.0)
    assert len(cluster.fleet.of("decode", PodState.STARTING)) == 1


def test_a_slow_replica_takes_twice_as_long_for_a_token_until_it_recovers() -> None:
    cluster = world(fault(FaultKind.SLOW_REPLICA, variant="decode", factor=0.5, at=200.0, hold=150.0))
    engines = model(seen(cluster, 345.0)).engines
    slow, usual = (float(str(engines[name].itl_mean_s)) for name in ("decode-2", "decode-3"))
    assert slow == pytest.approx(2 * usual, rel=0.1)
    after = model(seen(cluster, 590.0)).engines
    assert float(str(after["decode-2"].itl_mean_s)) == pytest.approx(usual, rel=0.05)


def test_a_picker_restart_holds_requests_loses_none_and_resets_counters_without_a_spike() -> None:
    cluster = world(fault(FaultKind.PICKER_RESTART, hold=5.0))
    cluster.env.run(304.0)
    assert len(cluster.traffic.held) > 5
    observation = seen(cluster, 330.0)
    assert not cluster.traffic.held
    assert cluster.traffic.lost == 0
    rate = model(observation).loads["chat"].requests_per_second
    assert not isinstance(rate, Missing)
    assert 0 < rate < 2.0


def test_another_writer_sets_replicas_again_and_again() -> None:
    cluster = world(fault(FaultKind.CONFLICTING_WRITER, variant="decode", replicas=1))
    cluster.env.run(301.0)
    assert cluster.fleet.requested == {"prefill": 2, "decode": 1}
    cluster.act([scale(cluster, "decode", 4)])
    cluster.env.run(331.0)
    assert cluster.fleet.requested["decode"] == 1
    cluster.env.run(430.0)
    cluster.act([scale(cluster, "decode", 4)])
    cluster.env.run(600.0)
    assert cluster.fleet.requested["decode"] == 4


def test_a_lost_node_takes_its_replicas_with_it() -> None:
    cluster = world(fault(FaultKind.NODE_LOSS, variant="decode", share=0.5, hold=0.0), replicas=4)
    cluster.env.run(301.0)
    assert len(cluster.fleet.of("decode", PodState.READY)) == 2
    assert len(cluster.fleet.of("decode", PodState.STARTING)) == 2


def test_a_fault_of_an_unknown_variant_is_refused() -> None:
    with pytest.raises(InputError, match="no variant 'gpu'; there are decode, prefill"):
        world(fault(FaultKind.NODE_LOSS, variant="gpu"))


@pytest.mark.parametrize("kind", FaultKind)
def test_after_any_fault_every_request_has_ended(kind: FaultKind) -> None:
    cluster = world(fault(kind, factor=0.5, share=0.5, replicas=2))
    cluster.env.run(2000.0)
    assert cluster.traffic.ended == 1200
