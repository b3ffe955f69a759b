"""Where the load is and where it is heading: a bank of local-trend filters that reads irregular ticks.

    level' = level + slope * tau * (1 - exp(-dt / tau)),   slope' = slope * exp(-dt / tau)      (damped: it fades)

Each member believes in another pace of change, in shares of the present level, so the bank is scale-free. The weight of
a member is its discounted likelihood: the bank speaks from the first sample on and turns from calm to swift within a
few ticks of a ramp. Measurement noise is what arrivals by chance would cause (compound Poisson), times a factor learned
from the innovations (adaptive Kalman). A step that no member can explain restarts the level there.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoscaler.domain.units import Seconds
from autoscaler.performance.step import FloatArray

RESTART_DEVIATIONS = 5.0
"""An innovation this many standard deviations out is a level shift, not noise."""

FORGETTING = Seconds(300.0)
"""Time constant with which old likelihoods of the members fade."""

LONGEST_STEP = Seconds(900.0)
"""After a longer silence nothing more is unlearned: uncertainty stays at what a quarter of an hour may change."""


SETTLING = Seconds(300.0)
"""After a level shift: the past's errors do not speak of the new level's uncertainty yet."""

STEEPEST_RISE = 2.5
STEEPEST_FALL = 0.4
"""What a trend may make of the present level, at any horizon."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a member expects the load to move. Shares of the level per square root of a minute."""

    level: float  # random walk of the level
    slope: float  # random walk of the slope (share per minute)
    fade: Seconds  # time constant of the slope


PACES = (
    Pace(level=0.01, slope=0.0, fade=Seconds(300.0)),
    Pace(level=0.06, slope=0.0, fade=Seconds(300.0)),
    Pace(level=0.02, slope=0.03, fade=Seconds(300.0)),
    Pace(level=0.06, slope=0.15, fade=Seconds(300.0)),
)

FADES = np.array([[pace.fade] for pace in PACES])
LEVEL_STEPS = np.array([[pace.level**2 / 60.0] for pace in PACES])  # variance per second, in shares of the level
SLOPE_STEPS = np.array([[(pace.slope / 60.0) ** 2 / 60.0] for pace in PACES])


@dataclass(slots=True)
class LocalTrend:
    """One Kalman filter: level (load), slope (load/s), and their covariance."""

    pace: Pace
    level: float
    slope: float
    var_level: float
    cov: float
    var_slope: float

    @classmethod
    def starting(cls, pace: Pace, level: float, var_level: float) -> "LocalTrend":
        """Return a filter that knows a first level and no direction."""
        slope_share = 2.0 * pace.slope / 60.0  # a cold start may fall into the middle of a ramp
        return cls(pace, level, 0.0, var_level, 0.0, (slope_share * level) ** 2)

    def advance(self, dt: float, scale: float) -> None:
        """Let ``dt`` seconds pass without a sample; ``scale`` is the load that shares refer to."""
        kept = math.exp(-dt / self.pace.fade)
        reach = self.pace.fade * (1.0 - kept)
        minutes = dt / 60.0
        level_step = (self.pace.level * scale) ** 2 * minutes
        slope_step = (self.pace.slope * scale / 60.0) ** 2 * minutes
        self.level = max(0.0, self.level + self.slope * reach)
        self.slope *= kept
        self.var_level += 2.0 * reach * self.cov + reach**2 * self.var_slope + level_step + slope_step * dt**2 / 3.0
        self.cov = kept * (self.cov + reach * self.var_slope) + slope_step * dt / 2.0
        self.var_slope = kept**2 * self.var_slope + slope_step

    def correct(self, innovation: float, noise: float) -> None:
        """Take in a sample that lies ``innovation`` above the level, measured with variance ``noise``."""
        spread = self.var_level + noise
        gain, gain_slope = self.var_level / spread, self.cov / spread
        self.level = max(0.0, self.level + gain * innovation)
        self.slope += gain_slope * innovation
        self.var_slope -= gain_slope * self.cov
        self.cov *= 1.0 - gain
        self.var_level *= 1.0 - gain


@dataclass(slots=True)
class TrendBank:
    """Filters of several paces, weighted by how well each foresaw the recent ticks."""

    members: list[LocalTrend] = field(default_factory=list)
    level: float = 0.0  # the present level of the load; 0 before the first sample
    weights: list[float] = field(default_factory=lambda: [1.0 / len(PACES)] * len(PACES))
    roughness: float = 1.0  # measured noise variance over that of random arrivals
    bends: int = 0  # how many samples the roughness rests on
    before: list[tuple[float, float, float]] = field(default_factory=list)  # (dt, rate, chance) of the last two
    settled_s: float = 1e9  # seconds since the last level shift
    surprises: int = 0  # ticks in a row far outside on the same side (signed)

    @property
    def unsettled(self) -> bool:
        """Tell whether the level has shifted lately."""
        return self.settled_s <= SETTLING

    @property
    def cautious_level(self) -> float:
        """Return the present level; after a shift, while few samples support it, its own upper bound (P90)."""
        if not self.unsettled:
            return self.level
        variance = sum(w * m.var_level for w, m in zip(self.weights, self.members, strict=True))
        return self.level + 1.2816 * math.sqrt(variance)

    def update(self, dt: float, rate: float, chance: float) -> bool:
        """Take in a rate measured over the last ``dt`` seconds; tell whether it was a level shift.

        Args:
            dt: seconds, > 0; a longer time than that of the measurement means a gap before it.
            rate: the load, >= 0.
            chance: variance of the rate that random arrivals alone would cause over ``dt``, > 0.
        """
        if not self.members:
            self.members = [LocalTrend.starting(pace, rate, (0.5 * rate) ** 2 + chance) for pace in PACES]
            self.level = rate
            return False
        scale = max(self.level, math.sqrt(chance))
        noise = self.roughness * chance
        likelihoods: list[float] = []
        nearest = math.inf
        slopes: list[float] = []
        for member in self.members:
            member.advance(min(dt, LONGEST_STEP), scale)
            slopes.append(member.slope)
            innovation = rate - member.level
            spread = member.var_level + noise
            deviation = innovation / math.sqrt(spread)
            if abs(deviation) < abs(nearest):
                nearest = deviation
            likelihoods.append(-0.5 * min(deviation**2, 50.0) - 0.5 * math.log(spread))
            member.correct(innovation, noise)
        self._reweigh(likelihoods, dt)
        self._roughen(dt, rate, chance)
        self.settled_s += dt
        shifted = self._restart(nearest, rate, noise, slopes)
        self.level = sum(w * member.level for w, member in zip(self.weights, self.members, strict=True))
        return shifted

    def _reweigh(self, likelihoods: list[float], dt: float) -> None:
        memory = math.exp(-dt / FORGETTING)
        best = max(likelihoods)
        raw = [w**memory * math.exp(li - best) for w, li in zip(self.weights, likelihoods, strict=True)]
        total = sum(raw)
        # fixed share: no member ever leaves for good
        self.weights = [0.98 * w / total + 0.02 / len(raw) for w in raw]

    def _roughen(self, dt: float, rate: float, chance: float) -> None:
        """Learn the noise from how far samples lie off the line between their neighbours: blind to level and slope."""
        if len(self.before) == 2:
            (dt0, rate0, chance0), (dt1, rate1, chance1) = self.before
            share = dt1 / (dt1 + dt) if max(dt0, dt1, dt) <= 90.0 else math.nan
            bend = rate1 - (1.0 - share) * rate0 - share * rate
            by_chance = chance1 + (1.0 - share) ** 2 * chance0 + share**2 * chance
            ratio = min(bend**2 / by_chance, 16.0 * self.roughness)  # a shift is no noise
            if not math.isnan(ratio):
                self.bends = min(self.bends + 1, max(20, int(1200.0 / dt)))
                self.roughness += (ratio - self.roughness) / (self.bends + 5)
                self.roughness = min(max(self.roughness, 0.2), 1000.0)
            self.before.pop(0)
        self.before.append((dt, rate, chance))

    def _restart(self, deviation: float, rate: float, noise: float, slopes: list[float]) -> bool:
        """Begin anew at ``rate`` after one impossible sample, or two in a row that are nearly so."""
        side = int(math.copysign(1, deviation)) if abs(deviation) > 0.6 * RESTART_DEVIATIONS else 0
        self.surprises = self.surprises + side if side * self.surprises > 0 else side
        shifted = abs(deviation) > RESTART_DEVIATIONS or abs(self.surprises) >= 2
        if shifted:
            self.surprises, self.settled_s = 0, 0.0
            for member, slope in zip(self.members, slopes, strict=True):
                member.slope = slope
                member.level, member.var_level, member.cov = rate, noise + (member.pace.level * rate) ** 2, 0.0
        return shifted


def ahead(banks: Sequence[TrendBank], offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of the level at each offset (seconds from now): mixtures over the members of each bank.

    All of them have taken in a rate. Shapes (banks, offsets).
    """
    members = [[(m.level, m.slope, m.var_level, m.cov, m.var_slope) for m in bank.members] for bank in banks]
    level, slope, var_level, cov, var_slope = np.moveaxis(np.array(members), -1, 0)[..., None]
    squared = np.array([bank.level**2 for bank in banks])[:, None, None]
    reach, steps = _spans(offsets.tobytes())
    variance = var_level + 2.0 * reach * cov + reach**2 * var_slope + squared * steps
    mean = np.minimum(np.maximum(level + slope * reach, STEEPEST_FALL * level), STEEPEST_RISE * level)
    weights = np.array([bank.weights for bank in banks])[:, None, :]
    mixed = weights @ mean
    return mixed[:, 0], (weights @ (variance + (mean - mixed) ** 2))[:, 0]


@functools.lru_cache(maxsize=8)
def _spans(offsets: bytes) -> tuple[FloatArray, FloatArray]:
    """Return how far each member's slope reaches, and the variance of its random walk per squared level, by offset.

    Args:
        offsets: of an array of floats, because arrays cannot be looked up by.
    """
    seconds = np.frombuffer(offsets)
    steps = LEVEL_STEPS * seconds + SLOPE_STEPS * seconds * np.minimum(seconds, FADES) ** 2 / 3.0
    return FADES * -np.expm1(-seconds / FADES), steps
