"""How far a load may pass the highest level of its last hour.

Loads move within what they have done before, most of the time. If minutes came in any order, the highest of the next h
would pass the highest of T before it with a chance of h / (T + h), and by how much falls off as a power of that chance.
A load that is breaking records now goes on breaking them: the share of the last minutes that did is believed instead.

On the development traces such bounds cover, at P90 to P99.5, about as often as they say (``python -m
benchmarks.records``).
"""

import math

from autoscaler.forecast.minutes import HOUR, RECENT, Minutes

TAIL = 5.0
"""Exponent of the tail beyond the highest level. With it bounds cover on average as often as they say from twenty
minutes of history on (P99.5: 0.993); larger ones fall short after a cold start (``python -m benchmarks.records``)."""

BEING_SET = 0.5
"""Chance that a level above every minute of the hour goes on rising. A single minute that is a record is passed within
four with 0.30 (``python -m benchmarks.records``); the present level is the mean of several samples, which says more."""

RUNAWAY = 3.0
"""No forecast exceeds so many times the highest level of the last hour."""


def chance(minutes: Minutes, now: float, ahead: float) -> float:
    """Return how likely the highest level of the last hour is passed within ``ahead`` minutes.

    Args:
        minutes: the past.
        now: the present level; above every minute of the hour it is a record that is being set.
        ahead: minutes, > 0.
    """
    by_chance = ahead / (min(minutes.count, HOUR) + ahead)
    being_set = BEING_SET if now > minutes.highest(HOUR) else 0.0
    return max(by_chance, being_set, minutes.records() / RECENT)


def factor(passed: float, probability: float, tail: float = TAIL) -> float:
    """Return what times the hour's highest is a bound at ``probability``; ``passed``: that there is any beyond it."""
    return min(RUNAWAY, max(1.0, math.pow(passed / (1.0 - probability), 1.0 / tail)))
