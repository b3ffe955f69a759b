"""Several live controllers share the namespaces of one API server, each under the Lease of its shard."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest

from autoscaler.cli.shards import Shard
from autoscaler.domain.policy import Mode
from tests.conftest import PrometheusFactory
from tests.integration.crd import cluster, story
from tests.integration.crd.story import Operator
from tests.integration.loop.conftest import DEPLOYMENTS, NAMES, deployment
from tests.integration.loop.controller import Autoscaler, Sizes
from tests.integration.loop.traffic import Discovery, Traffic
from tests.servers.audit import AuditEvent
from tests.servers.control_plane import ControlPlane, eventually
from tests.servers.prometheus import PrometheusServer, Target

pytestmark = pytest.mark.slow

SHARDS = (Shard(1, 2), Shard(2, 2))
SOME, MORE, MUCH = 40.0, 120.0, 400.0  # requests/s
FULL = 16  # replicas: both pools at maxReplicas
LEASE_S = 20.0


class Share:
    """One namespace's part of what a Prometheus scrapes."""

    def __init__(self, prometheus: PrometheusServer, parts: dict[str, Sequence[Target]], name: str) -> None:
        """Take what is scraped, by namespace: shared with the others."""
        self._prometheus = prometheus
        self._parts = parts
        self._name = name

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Scrape these for the namespace from now on."""
        self._parts[self._name] = targets
        self._prometheus.set_targets([target for part in self._parts.values() for target in part])


@dataclass(frozen=True, slots=True)
class Town:
    """A namespace with a model under load, and the shard that it falls to."""

    name: str
    shard: Shard
    mode: Mode
    traffic: Traffic
    sizes: Sizes

    @property
    def key(self) -> str:
        """Return its policy's key."""
        return f"{self.name}/loop"

    @property
    def replicas(self) -> int:
        """Return what is asked for in both pools now."""
        return sum(self.sizes.now().values())


@dataclass(frozen=True, slots=True)
class Country:
    """What a story plays with: for each shard one town in mode Auto and one in mode Recommend."""

    plane: ControlPlane
    capital: str
    prometheus: PrometheusServer
    towns: tuple[Town, ...]
    folder: Path

    def town(self, shard: Shard, mode: Mode = Mode.AUTO) -> Town:
        """Return a town."""
        return next(town for town in self.towns if (town.shard, town.mode) == (shard, mode))

    def keys(self, *shards: Shard) -> set[str]:
        """Return the policies that fall to these shards; to all without any."""
        return {town.key for town in self.towns if town.shard in (shards or SHARDS)}

    def turn(self, rate: float) -> None:
        """Let another load come to each town."""
        for town in self.towns:
            town.traffic.turn(rate)

    def controller(self, shard: Shard, name: str) -> Autoscaler:
        """Return a controller of a shard; ``name``: of its folder."""
        folder = self.folder / name
        folder.mkdir()
        return Autoscaler(
            folder,
            policy=None,
            prometheus=self.prometheus.url,
            kubeconfig=story.login(self.plane, self.capital, folder, self.account(shard)),
            window="10s",
            options=("--shard", str(shard), "--lease", f"{self.capital}/disagg-autoscaler"),
        )

    def account(self, shard: Shard) -> str:
        """Return the service account of a shard's controllers."""
        return f"{self.capital}-{shard.number}"

    def grant(self, stack: ExitStack) -> None:
        """Give each shard the rights that ship, and its own Lease."""
        for shard in SHARDS:
            name = self.account(shard)
            self.plane.request(
                "POST", f"/api/v1/namespaces/{self.capital}/serviceaccounts", {"metadata": {"name": name}}
            )
            rules = [rule for piece in ("look", "report", "act") for rule in story.rules(piece)]
            story.bind_everywhere(self.plane, self.capital, name, rules)
            stack.callback(story.unbind, self.plane, name)
            lease = [
                {**rule, "resourceNames": [f"disagg-autoscaler-{shard.number}-of-2"]}
                if "resourceNames" in rule
                else rule
                for rule in story.rules("lease")
            ]
            story.bind(self.plane, self.capital, name, lease, name)

    def writes(self, shard: Shard, resource: str) -> set[str]:
        """Return the namespaces in which a shard's controllers wrote a resource."""
        return {event.namespace for event in self.asked(shard) if event.is_write and event.resource == resource}

    def asked(self, shard: Shard) -> tuple[AuditEvent, ...]:
        """Return what a shard's controllers asked of the API server."""
        return self.plane.audit_events(story.user(self.capital, self.account(shard)))


@pytest.fixture
def country(
    control_plane: ControlPlane,
    kubelet: None,  # noqa: ARG001 - looks after the pods
    namespace: str,
    prometheus_server: PrometheusFactory,
    tmp_path: Path,
) -> Iterator[Country]:
    """Return a country of four towns; what belongs to its controllers is in a namespace of its own."""
    cluster.install(control_plane)
    prometheus, parts = prometheus_server(), dict[str, Sequence[Target]]()
    with ExitStack() as stack:
        towns = []
        for shard, mode in product(SHARDS, Mode):
            name = next(name for name in iter(lambda: f"test-{uuid4().hex[:8]}", "") if shard.has(name))
            towns.append(_founded(stack, control_plane, name, shard, mode))
        for town in towns:
            eventually(lambda name=town.name: _ready(control_plane, name), what="the first pods")  # type: ignore[misc]  # a default of a lambda
            share = Share(prometheus, parts, town.name)
            stack.enter_context(Discovery(control_plane, town.name, town.traffic, share))
        found = Country(control_plane, namespace, prometheus, tuple(towns), tmp_path)
        found.grant(stack)
        yield found


def _founded(stack: ExitStack, plane: ControlPlane, name: str, shard: Shard, mode: Mode) -> Town:
    plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    stack.callback(plane.request, "DELETE", f"/api/v1/namespaces/{name}")
    for pool in NAMES:
        plane.request("POST", DEPLOYMENTS.format(namespace=name), deployment(pool, 1))
    operator = Operator(plane, name)
    operator.create(story.policy(name, mode=mode.value))
    stack.callback(operator.delete, "loop")
    return Town(name, shard, mode, stack.enter_context(Traffic(2.0)), stack.enter_context(Sizes(plane, name)))


def _ready(plane: ControlPlane, name: str) -> bool:
    found = plane.request("GET", DEPLOYMENTS.format(namespace=name))["items"]
    return [item["status"].get("readyReplicas", 0) for item in found] == [1] * len(NAMES)


def test_each_policy_is_acted_on_by_exactly_one_controller(country: Country) -> None:
    first, second = SHARDS
    ours, theirs = country.town(first), country.town(second)
    with country.controller(first, "leader") as leader, country.controller(second, "other") as other:
        for town in country.towns:
            Operator(country.plane, town.name).sees("Ready", "True", "AsWanted")
        _grow(country, SOME, ours, theirs)
        with country.controller(first, "standby") as standby:
            standby.next_tick()
            leader.kill()
            _grow(country, MORE, ours, theirs)  # the one by the stand-by, to the other nothing has happened
            standby.kill()
            held = ours.sizes.now()
            country.turn(MUCH)
            _wait(lambda: theirs.replicas == FULL, theirs)
            later = other.next_tick()["at"] + LEASE_S
            other.until(lambda ticks: ticks[-1]["at"] > later, "a tick after the Lease of the first has run out")
            assert ours.sizes.now() == held, "nobody's shard is nobody else's"
        decided = {key for running in (leader, standby) for tick in running.ticks() for key in tick["plan"]}
        assert country.keys(first) == decided & country.keys()
        assert country.keys(second) == {key for tick in other.ticks() for key in tick["plan"]} & country.keys()
    for shard in SHARDS:
        auto, recommend = country.town(shard), country.town(shard, Mode.RECOMMEND)
        assert country.writes(shard, "deployments/scale") == {auto.name}
        assert country.writes(shard, "slopolicies/status") == {auto.name, recommend.name}
        assert not recommend.sizes.changed()
    asked = [event for shard in SHARDS for event in country.asked(shard)]
    assert not [event for event in asked if event.code == 403], "the rights that ship suffice"


def _grow(country: Country, rate: float, *towns: Town) -> None:
    """Let more load come to all towns, and wait until some have grown."""
    before = {town: town.replicas for town in towns}
    country.turn(rate)
    for town in towns:
        _wait(lambda town=town: town.replicas > before[town], town)  # type: ignore[misc]  # a default of a lambda


def _wait(holds: Callable[[], bool], town: Town) -> None:
    """Wait until something is so of a town: an office changes hands in half a minute."""
    eventually(holds, within_s=120, what=f"more replicas of {town.key}, shard {town.shard}, than {town.sizes.now()},")
