"""Every interleaving of load, faults and restarts keeps the promises: nothing lost, dark for ever, or out of bounds."""

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from autoscaler.domain.membership import ACTIVE_PORTS, NOTES
from tests.emulator.world import Rules, World

pytestmark = pytest.mark.slow

POOLS = st.sampled_from(["prefill", "decode"])
OPERATOR = ("kubectl-annotate", "Update")


class Drains(RuleBasedStateMachine):
    """Hypothesis is the operator, the load and the bad luck; the controller under test does the rest."""

    world: World

    @initialize(statefulsets=st.booleans(), controllers=st.integers(1, 2), seed=st.integers(0, 2**16))
    def begin(self, seed: int, controllers: int, *, statefulsets: bool) -> None:
        rules = Rules(statefulsets=statefulsets, controllers=controllers, drain_timeout=120.0, requests_per_second=3.0)
        self.world = World(seed, rules)

    @rule(pool=POOLS, wanted=st.integers(1, 6))
    def load_changes(self, pool: str, wanted: int) -> None:
        self.world.targets[pool] = wanted

    @rule(seconds=st.floats(1.0, 120.0))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(checkpoint=st.integers(0, 12))
    def a_controller_dies(self, checkpoint: int) -> None:
        self.world.dies_next = checkpoint

    @rule(picker=st.integers(0, 1), seconds=st.floats(1.0, 45.0))
    def a_picker_goes_blind(self, picker: int, seconds: float) -> None:
        self.world.blind(picker, seconds)

    @rule(seconds=st.floats(1.0, 40.0))
    def a_picker_is_silent(self, seconds: float) -> None:
        self.world.silence(seconds)

    @rule(seconds=st.floats(1.0, 40.0))
    def the_api_server_goes_away(self, seconds: float) -> None:
        self.world.outage(seconds)

    @rule(offset=st.floats(-90.0, 90.0))
    def the_clock_steps(self, offset: float) -> None:
        self.world.offset = offset

    @rule(share=st.floats(0.0, 0.4))
    def calls_fail(self, share: float) -> None:
        self.world.faults.share = share

    @rule(data=st.data())
    def a_pod_is_unready_for_a_while(self, data: st.DataObject) -> None:
        if self.world.traffic.engines:
            self.world.flap(data.draw(st.sampled_from(sorted(self.world.traffic.engines))))

    @rule(data=st.data(), ports=st.sampled_from(["8000", "8000,8001"]))
    def an_operator_names_ports(self, data: st.DataObject, ports: str) -> None:
        pods = [name for name, pod in self.world.api.pods.items() if not _noted(pod["metadata"]["annotations"])]
        if pods:
            name = data.draw(st.sampled_from(sorted(pods)))
            self.world.api.annotate(name, {ACTIVE_PORTS: ports}, OPERATOR)

    @invariant()
    def nothing_is_lost(self) -> None:
        counts = self.world.counts
        lost = [flight.lost_by for flight in self.world.traffic.lost]
        assert (lost, counts.wrong, counts.out_of_bounds, counts.dark) == ([], [], [], [])
        assert self.world.traffic.refused == 0, "a request found no decode pod"

    def teardown(self) -> None:
        """When the trouble is over, every pod is a member again or gone, and every count is as wanted."""
        world = self.world
        try:
            world.faults.share, world.offset, world.dies_next = 0.0, 0.0, None
            world.targets = dict.fromkeys(world.targets, 3)
            world.run(200.0 + 90.0 + 45.0 + 60.0)
            world.run(world.rules.drain_timeout + 300.0)
            assert {name: scale["spec"]["replicas"] for name, scale in world.api.scales.items()} == world.targets
            assert not any(_noted(pod["metadata"]["annotations"]) for pod in world.api.pods.values())
            self.nothing_is_lost()
        finally:
            world.close()


def _noted(annotations: dict[str, str]) -> bool:
    return bool(set(NOTES) & annotations.keys())


Drains.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_drains = Drains.TestCase
