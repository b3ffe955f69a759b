"""Which parts of a decision are at work. All of them, but where somebody measures what each is worth."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """A part that is off leaves behind what one would do without it."""

    forecast: bool = True  # off: load stays what it is now
    queue_tail: bool = True  # off: a prompt is late only where prompts come faster than they are computed
    calibration: bool = True  # off: engines are as fast as was assumed
    margins: bool = True  # off: nothing is learned of misses
    lazy_scale_in: bool = True  # off: replicas leave as soon as `behavior` allows
    variants: bool = True  # off: each role grows on its first variant alone


ALL = Parts()
