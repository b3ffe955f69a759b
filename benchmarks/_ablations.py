"""Deciders without one of their parts, to see what it is worth. For benchmarks only; the product has no switches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from autoscaler.decider import Decider
from autoscaler.domain.demand import Demand, ProfileDemand, Quantiles, RateForecast
from autoscaler.domain.observation import ProfileLoad
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.calendar import LoadEvent
from autoscaler.forecast.room import LoadForecaster
from autoscaler.performance.calibrate import Calibration, Sample
from autoscaler.performance.prior import Prior
from autoscaler.plan.risk import Margins

PARTS = ("forecast", "calibration", "margins")
"""What can be left out by exchanging one value of a Decider."""

NO_SWITCH = {
    "queue tail": "the wait is computed inside the stage of prefill; no value to exchange",
    "lazy scale-in": "the window is a constant of the plan; no value to exchange",
}


class Present(LoadForecaster):
    """Says that load stays what it is now."""

    def demand(
        self,
        at: Instant,
        horizons: Sequence[Seconds],
        hold: Seconds,
        events: Mapping[str, Sequence[LoadEvent]] = MappingProxyType({}),
    ) -> Demand:
        """Return the present level at every horizon and probability."""
        found = super().demand(at, horizons, hold, events)
        return {name: known if isinstance(known, Missing) else _flat(known) for name, known in found.items()}


def _flat(demand: ProfileDemand) -> ProfileDemand:
    return replace(
        demand,
        requests_per_second=_present(demand.requests_per_second),
        uncached_prompt_tokens_per_second=_present(demand.uncached_prompt_tokens_per_second),
        output_tokens_per_second=_present(demand.output_tokens_per_second),
    )


def _present(rates: Mapping[Seconds, RateForecast]) -> Mapping[Seconds, RateForecast]:
    def flat(rate: RateForecast) -> RateForecast:
        level = Quantiles((0.5,), (rate.now,))
        return replace(rate, mean=level, maximum=level)

    return {horizon: flat(rate) for horizon, rate in rates.items()}


class Unmoved(Margins):
    """Learns nothing of misses."""

    def updated(self, policy: SLOPolicy, loads: Mapping[str, ProfileLoad], at: Instant) -> "Unmoved":  # noqa: ARG002
        """Return itself."""
        return self


class Believing(Calibration):
    """Learns nothing of engines."""

    def updated(self, new: Iterable[Sample], at: Instant) -> "Believing":  # noqa: ARG002
        """Return itself."""
        return self


def without(part: str, policy: SLOPolicy, priors: Mapping[str, Prior], period: Seconds) -> Decider:
    """Return a Decider for one policy that lacks a part (empty: nothing)."""
    decider = Decider([policy], {policy.key: priors}, period=period)
    model = decider._models[policy.key]  # noqa: SLF001 - the product has no switch, and needs none
    if part == "forecast":
        model.forecaster = Present()
    elif part == "margins":
        model.margins = Unmoved()
    elif part == "calibration":
        for variant in model.variants.values():
            known = variant.calibration
            variant.calibration = Believing(known.prior_model, known.prior_sd, known.information, known.weighted)
    return decider
