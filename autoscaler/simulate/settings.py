"""How the tunnel behaves beside its load and its faults."""

from dataclasses import dataclass, field

from autoscaler.domain.units import Seconds
from autoscaler.simulate.engine import EngineRules
from autoscaler.simulate.router import Routing, Scores


@dataclass(frozen=True, slots=True)
class Scraping:
    """How the tunnel's monitoring works."""

    interval: Seconds = Seconds(15.0)
    window: Seconds = Seconds(60.0)  # over which rates are taken; four scrapes, as ``autoscaler run`` chooses it
    delay: Seconds = Seconds(0.0)  # from a scrape until it can be queried
    stale_after: Seconds = Seconds(60.0)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How pods, picker and monitoring of a cluster behave."""

    routing: Routing = Routing.LEAST_LOADED
    scores: Scores = field(default_factory=Scores)
    scraping: Scraping = field(default_factory=Scraping)
    rules: EngineRules = field(default_factory=EngineRules)
    prefix_caching: bool = False
    grace: Seconds = Seconds(0.0)  # in which a deleted pod may finish; then its requests are lost (vLLM's default: 0)
    handover_is_pull: float = 1.0  # share of the time per token that occupies the prefill replica's link
    handover_steps: float = 2.5  # decode steps that a hand-over measured up to the first token contains: half a step in
    # flight, one that is already formed, and the first itself; the engine adds them again
    hold_limit: Seconds | None = None  # a request that waits at the picker for so long is rejected; None: never
    gated: bool = False  # new pods wait for Announce before the picker sees them
    node_replicas: int = 1  # replicas per node, for node loss
