"""A Decider whose forecast says the opposite: what is coming is as far below the present as it was expected above."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from autoscaler.decider import Decider
from autoscaler.domain.demand import Demand, Quantiles, RateForecast, changed
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.calendar import LoadEvent
from autoscaler.forecast.room import LoadForecaster
from autoscaler.performance.prior import Prior

FARTHEST = 10.0
"""Neither more nor less than the present by a larger factor."""


class Opposite(LoadForecaster):
    """Learns as the forecaster does, and says the mirror image about the present level, in ratios."""

    def demand(
        self,
        at: Instant,
        horizons: Sequence[Seconds],
        hold: Seconds,
        events: Mapping[str, Sequence[LoadEvent]] = MappingProxyType({}),
    ) -> Demand:
        """Return the mirrored demand of every profile."""
        return changed(super().demand(at, horizons, hold, events), _opposite)


def _opposite(rate: RateForecast) -> RateForecast:
    return replace(rate, mean=mirrored(rate.mean, rate.now))


def mirrored(quantiles: Quantiles, now: float) -> Quantiles:
    """Return quantiles of ``now^2 / level``: what was likely above the present is as likely below it."""
    pairs = zip(reversed(quantiles.probabilities), reversed(quantiles.levels), strict=True)
    turned = [(1.0 - p, now * min(FARTHEST, max(1.0 / FARTHEST, now / max(level, 1e-12)))) for p, level in pairs]
    return Quantiles(tuple(p for p, _ in turned), tuple(level for _, level in turned))


def opposed(policy: SLOPolicy, priors: Mapping[str, Prior], period: Seconds) -> Decider:
    """Return the Decider of a policy that is told the opposite of its forecast."""
    decider = Decider([policy], {policy.key: priors}, period=period)
    decider._models[policy.key].forecaster = Opposite()  # noqa: SLF001 - the product has no switch, and needs none
    return decider
