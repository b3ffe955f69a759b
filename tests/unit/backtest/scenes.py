"""Small scenes for tests: minutes of load on engines as fast as one H200 with Qwen3-32B."""

from dataclasses import replace

from autoscaler.backtest.scene import Scene, scene_of
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import load_profile
from autoscaler.simulate import load
from autoscaler.simulate.trace import Trace

FAST = Prior(load_profile("h200-tp1-qwen3-32b").for_role(Role.PREFILL), MEASURED)


def variant(role: Role, name: str = "", *, cost: float = 3.0, least: int = 1, most: int = 8) -> Variant:
    named = name or str(role)
    return Variant(named, role, ScaleTarget("llm", "apps/v1", "Deployment", named), "H200-SXM", 1, cost, least, most)


def policy(*variants: Variant) -> SLOPolicy:
    profiles = (
        RequestProfile("rag", SLO(Seconds(3.0), Seconds(0.05), 0.95)),
        RequestProfile("chat", SLO(Seconds(2.0), Seconds(0.04), 0.95)),
    )
    return SLOPolicy("p", "llm", "m", profiles, variants or (variant(Role.PREFILL), variant(Role.DECODE)))


def trace(seconds: float = 600.0, rag: float = 2.0, chat: float = 4.0) -> Trace:
    """A burst of RAG in the middle third, beside steady chat."""
    third = seconds / 3
    streams = [
        load.Stream("rag", load.burst(rag, 3 * rag, third, third, seconds), load.Lengths(3000, 0.3), load.Lengths(60)),
        load.Stream("chat", load.constant(chat, seconds), load.Lengths(700, 0.5), load.Lengths(150, 0.5)),
    ]
    return load.compose(streams, seed=7)


def scene(*variants: Variant, seconds: float = 600.0, spread: float = 1.2) -> Scene:
    chosen = policy(*variants)
    made = scene_of(chosen, trace(seconds), {v.name: FAST for v in chosen.variants})
    return replace(made, startup_spread=spread)
