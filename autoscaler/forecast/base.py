"""What a forecaster is: an expert that reads a series' memory and says what it expects at each node ahead."""

from typing import Protocol

from autoscaler.forecast.memory import Memory
from autoscaler.performance.step import FloatArray


class Expert(Protocol):
    """One way to forecast a series; stateless beside the memory, or with a state of its own that ``fit`` replaces."""

    name: str
    needs: int  # complete minutes of history before it may speak
    every: int  # minutes between two calls of ``fit``; 0: never
    prior: float  # its loss relative to that of others, before there is any

    def fit(self, memory: Memory) -> None:
        """Learn from the past; cheap enough for the loop (learned models are trained off it, see learned.py)."""
        ...

    def predict(self, memory: Memory) -> FloatArray:
        """Return the expected load at each of ``NODES``, shape (nodes,), >= 0."""
        ...
