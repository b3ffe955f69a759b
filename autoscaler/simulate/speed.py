"""How long the steps of one replica take: its model's times as plain numbers, at a factor of the model's speed."""

import math

import numpy as np

from autoscaler.performance.step import ReplicaModel


class Speed:
    """Seconds of steps that decode a batch, and of passes over prompts.

    While no prompt is to be computed, k steps of B sequences with C tokens in cache take, since C grows by B a step,
    ``k (step of B and C) + c B k (k - 1) / 2`` seconds: one formula for any k, so a request costs the same whatever its
    length. A step that computes prompts takes a prefill pass plus what B sequences and their C tokens add to a step.
    """

    __slots__ = (
        "_corner", "_pass_base_s", "_pass_floor_s", "_per_token_s", "_per_token_squared_s", "by_batch_s",
        "per_kv_token_s",
    )  # fmt: skip

    def __init__(self, model: ReplicaModel, factor: float = 1.0) -> None:
        """Take over a model that runs ``factor`` times as fast as it says."""
        step, prefill = model.step, model.prefill
        batches = np.arange(model.limits.max_sequences + 2)
        self.by_batch_s: list[float] = (step.step_s(batches, 0.0) / factor).tolist()  # of a step, but for KV
        self.per_kv_token_s = step.per_kv_token_s / factor
        self._pass_floor_s, self._pass_base_s = prefill.floor_s / factor, prefill.base_s / factor
        self._per_token_s = prefill.per_token_s / factor
        self._per_token_squared_s = prefill.per_token_squared_s / factor
        self._corner = prefill.corner

    def chunk_s(self, tokens: int, computed: int) -> float:
        """Return the work, in seconds, of ``tokens`` of a prompt behind ``computed`` ones."""
        return tokens * (self._per_token_s + self._per_token_squared_s * (tokens + 2 * computed))

    def pass_s(self, chunks_s: float) -> float:
        """Return the seconds of a pass over chunks of prompts: the smooth maximum of the floor and its work."""
        floor, work = self._pass_floor_s, self._pass_base_s + chunks_s
        longer, ratio = (work, floor / work) if work > floor else (floor, work / floor)
        return longer * math.pow(1.0 + math.pow(ratio, self._corner), 1.0 / self._corner)


def steps_s(steps: int, first: float, half: float) -> float:
    """Return the seconds of ``steps`` steps, of which the first takes ``first`` and each later one ``2 half`` more."""
    return steps * (first + half * (steps - 1))


def whole_steps(seconds: float, first: float, half: float) -> int:
    """Return how many such steps end within ``seconds >= first``: the root of ``steps_s(k, first, half) = seconds``."""
    if half * seconds < 1e-12 * first * first:
        return int(seconds / first)
    linear = first - half
    return int((math.sqrt(linear * linear + 4.0 * half * seconds) - linear) / (2.0 * half))
