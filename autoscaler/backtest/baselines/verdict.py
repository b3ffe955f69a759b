"""What a baseline may say besides a number of replicas."""

from enum import Enum
from typing import Literal, TypeAlias


class Verdict(Enum):
    """A state of its own: not a count, and not zero."""

    HOLD = "hold"  # nothing is written this time
    INVALID = "invalid"  # a metric from which nothing can be computed


Written: TypeAlias = int | Literal[Verdict.HOLD]
Proposal: TypeAlias = int | Literal[Verdict.INVALID]
