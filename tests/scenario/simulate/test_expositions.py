"""The simulated cluster, scraped over HTTP by the real observe path, reads as it does directly."""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import pytest

from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.signal import Missing
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.scrape import MemorySource, Target
from autoscaler.performance.profile import load_profile
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.expositions import ExpositionServer
from autoscaler.simulate.load import Lengths, Stream, compose, constant
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.startup import StartUp

SCRAPE_S = 15.0
SECONDS = 600.0
PROFILES = ("rag", "chat", "default")


class Fleet:
    """The cluster's API, for the observer."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:  # noqa: ARG002 - the cluster has its own now
        policy = self.cluster.policy
        return {policy.key: FleetView({v.name: self.cluster.fleet.workload(v.name) for v in policy.variants})}


def cluster() -> SimulatedCluster:
    slo = SLO(Seconds(2.0), Seconds(0.05))
    profiles = tuple(RequestProfile(n, slo, Match(fairness_id=n) if n != "default" else Match()) for n in PROFILES)
    variants = tuple(
        Variant(role.value, role, ScaleTarget("llm", "apps/v1", "Deployment", role.value), "H200-SXM", 1, 3.0, 1, 8)
        for role in (Role.PREFILL, Role.DECODE)
    )
    rag = Stream("rag", constant(2.0, SECONDS), Lengths(3000, 0.3), Lengths(64, 0.3))
    chat = Stream("chat", constant(4.0, SECONDS), Lengths(800, 0.5), Lengths(200, 0.5))
    model = load_profile("h200-tp1-qwen3-32b").model
    supplies = {variant.name: Supply(model, StartUp(Seconds(60.0)), 2) for variant in variants}
    return SimulatedCluster(SLOPolicy("t", "llm", "m", profiles, variants), compose([rag, chat], 1), supplies)


@pytest.fixture
def server() -> Iterator[ExpositionServer]:
    with ExpositionServer(cluster()) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def page(server: ExpositionServer, path: str) -> str:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=5) as answer:  # noqa: S310 - our own server
        return str(answer.read().decode())


def scraped(server: ExpositionServer) -> tuple[ModelObservation, ModelObservation]:
    """Let ten minutes pass under scrapes; return what the real path observes, and what the cluster says itself."""
    world = server.cluster
    source = MemorySource(["llm"], Windows(fast=Seconds(60.0), long=Seconds(60.0)))
    at = 0.0
    while at < SECONDS - SCRAPE_S:
        at += SCRAPE_S
        with server.lock:
            world.env.run(at)
        for pod in world.fleet.pods.values():
            labels = {"namespace": "llm", "pod": pod.name, "llm_d_ai_role": pod.variant.role.value}
            source.add(Instant(at), Target(labels), page(server, f"/pods/{pod.name}/metrics"))
        picker = Target({"namespace": "llm", "pod": "epp-0"})
        source.add(Instant(at), picker, page(server, "/picker/metrics"))
    now = Instant(at)
    real = asyncio.run(ClusterObserver([world.policy], source, Fleet(world)).observe(now))
    direct = world.scraper.observation(now)
    return real.models[world.policy.key], direct.models[world.policy.key]


@pytest.fixture
def both(server: ExpositionServer) -> tuple[ModelObservation, ModelObservation]:
    return scraped(server)


RATES = (
    "requests_per_second",
    "prompt_tokens_per_second",
    "uncached_prompt_tokens_per_second",
    "output_tokens_per_second",
)


def test_both_ways_see_the_same_world(both: tuple[ModelObservation, ModelObservation]) -> None:
    real, direct = both
    assert real.fleet == direct.fleet
    for profile in ("rag", "chat"):
        for rate in RATES:
            seen, told = (getattr(model.loads[profile], rate) for model in (real, direct))
            assert seen == pytest.approx(told, rel=0.08), (profile, rate)
        seen_ttft, told_ttft = (model.loads[profile].ttft for model in (real, direct))
        assert not isinstance(seen_ttft, Missing)
        assert not isinstance(told_ttft, Missing)
        assert seen_ttft.mean_s == pytest.approx(told_ttft.mean_s, rel=0.02)
        assert seen_ttft.p90_s == pytest.approx(told_ttft.p90_s, rel=0.05)
        assert seen_ttft.within_slo == pytest.approx(told_ttft.within_slo, abs=0.02)
        seen_itl, told_itl = (model.loads[profile].itl for model in (real, direct))
        assert not isinstance(seen_itl, Missing)
        assert not isinstance(told_itl, Missing)
        assert seen_itl.mean_s == pytest.approx(told_itl.mean_s, rel=0.02)


ENGINE = (
    "running", "waiting", "deferred", "kv_use_ratio", "kv_capacity_tokens", "prompt_tokens_per_second",
    "computed_prompt_tokens_per_second", "output_tokens_per_second", "requests_per_second", "preemptions_per_second",
)  # fmt: skip


def test_both_ways_see_the_same_engines(both: tuple[ModelObservation, ModelObservation]) -> None:
    real, direct = both
    assert real.engines.keys() == direct.engines.keys()
    for pod, told in direct.engines.items():
        for signal in ENGINE:
            seen = getattr(real.engines[pod], signal)
            assert seen == pytest.approx(getattr(told, signal), rel=0.02, abs=1e-9), (pod, signal)
    decode = next(load for pod, load in real.engines.items() if pod.startswith("decode"))
    assert decode.itl_mean_s == pytest.approx(direct.engines[decode.pod].itl_mean_s, rel=0.02)


def test_a_pod_that_boots_answers_503_and_one_that_is_not_there_404(server: ExpositionServer) -> None:
    server.cluster.fleet.set_replicas("decode", 3)
    (new,) = (pod.name for pod in server.cluster.fleet.pods.values() if pod.state == "starting")
    for path, status in ((f"/pods/{new}/metrics", 503), ("/pods/none/metrics", 404), ("/other", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            page(server, path)
        assert refused.value.code == status
        refused.value.close()
