"""What a request profile was promised."""

from dataclasses import dataclass

from autoscaler.domain.units import Seconds


@dataclass(frozen=True, slots=True)
class SLO:
    """Limits of one profile: the share ``attainment`` of its requests must keep both."""

    ttft: Seconds
    itl: Seconds
    attainment: float = 0.99

    def __post_init__(self) -> None:
        if not self.ttft > 0 or not self.itl > 0:
            msg = f"an SLO needs positive limits, not ttft {self.ttft} and itl {self.itl}"
            raise ValueError(msg)
        if not 0 < self.attainment < 1:
            msg = f"attainment is a share between 0 and 1, not {self.attainment}"
            raise ValueError(msg)
