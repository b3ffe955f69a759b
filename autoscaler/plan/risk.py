"""How far above the middle of the forecast to provide, learned from the misses that were observed.

Forecast and models are never quite right, so a goal of 99 % is not met by planning for 99 %. Each profile keeps, per
role, a margin. Above 1 it is a factor on the distance of every level of load from the median; below 1 it is the share
that is kept of the distance between what is planned and what the median load keeps busy. Misses widen it, their absence
narrows it, so that in the long run misses come as often as they may (adaptive conformal inference, Gibbs and Candes
2021, with the decision's own misses as the score).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.observation import Latency, ProfileLoad
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.signal import Signal
from autoscaler.domain.units import Instant, Seconds

HALVED_IN = Seconds(420.0)  # without a miss
STEEPEST = 10.0  # limit of what one look at misses counts for: bursts of them say the same many times
AIM = 0.6  # of the misses that the SLO allows: the rest is for what a margin cannot learn
NARROWEST, WIDEST = math.log(0.5), math.log(1.6)
LONGEST_STEP = Seconds(60.0)  # after a gap nothing is made up for


@dataclass(frozen=True, slots=True)
class Margins:
    """Logarithm of the margin by role and profile; 0 where nothing was observed yet."""

    logs: Mapping[tuple[Role, str], float] = field(default_factory=lambda: MappingProxyType({}))
    at: Instant | None = None

    def of(self, role: Role) -> float:
        """Return the factor for a role: the widest that one of its profiles asks for."""
        own = [log for (known, _), log in self.logs.items() if known is role or role is Role.UNIFIED]
        return math.exp(max(own, default=0.0))

    def updated(self, policy: SLOPolicy, loads: Mapping[str, ProfileLoad], at: Instant) -> "Margins":
        """Return the margins after a look at how requests were served; what was not observed changes nothing."""
        step = 0.0 if self.at is None else min(max(0.0, at - self.at), LONGEST_STEP)
        logs = dict(self.logs)
        for profile in policy.profiles:
            load = loads.get(profile.name)
            if load is None:
                continue
            for role, latency in ((Role.PREFILL, load.ttft), (Role.DECODE, load.itl)):
                logs[role, profile.name] = _moved(logs.get((role, profile.name), 0.0), profile, latency, step)
        return Margins(MappingProxyType(logs), at)


def _moved(log: float, profile: RequestProfile, latency: Signal[Latency], step: float) -> float:
    if not isinstance(latency, Latency) or not latency.count > 0:
        return log
    allowed = (1.0 - profile.slo.attainment) / 2.0  # either limit may be missed
    excess = min(STEEPEST, (1.0 - latency.within_slo) / (AIM * allowed) - 1.0)
    return min(max(log + math.log(2.0) * excess * step / HALVED_IN, NARROWEST), WIDEST)
