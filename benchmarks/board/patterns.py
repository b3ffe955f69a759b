"""Loads that an adversary can bend: stages of two kinds of work, as scenario documents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoscaler.backtest.scene import INITIAL_USE, INITIAL_WINDOW_S, Scene, scene_of_scenario, sized
from autoscaler.simulate.scenario import build
from benchmarks.board.tracks import SCENES

STAGES = 6
LEAST, MOST = 0.02, 5.0
"""Work offered, in requests/s of retrieval; reasoning comes at half of it."""

SHORTEST_MIN, LONGEST_MIN = 1, 8
PRICE, MAXIMUM = 3.8, 16


@dataclass(frozen=True, slots=True)
class Pattern:
    """Stages of work, the share of reasoning in each, minutes of each, and how clumped arrivals are."""

    work: tuple[float, ...]
    reasoning: tuple[float, ...]
    minutes: tuple[int, ...]
    squared_variation: float
    seed: int

    @classmethod
    def random(cls, random: np.random.Generator) -> "Pattern":
        """Return any pattern, levels even on a logarithmic scale."""
        return cls(
            tuple(_level(random) for _ in range(STAGES)),
            tuple(_share(random) for _ in range(STAGES)),
            tuple(int(random.integers(SHORTEST_MIN, LONGEST_MIN + 1)) for _ in range(STAGES)),
            round(float(np.exp(random.uniform(0.0, np.log(12.0)))), 2),
            int(random.integers(1, 1000)),
        )

    def mutated(self, random: np.random.Generator) -> "Pattern":
        """Return a neighbour: two stages changed, or one drawn anew."""
        work, reasoning, minutes = list(self.work), list(self.reasoning), list(self.minutes)
        for place in random.choice(STAGES, 2, replace=False):
            step = float(np.exp(random.normal(0.0, 0.5)))
            work[place] = round(float(np.clip(work[place] * step, LEAST, MOST)), 3)
            reasoning[place] = round(float(np.clip(reasoning[place] + random.normal(0.0, 0.25), 0.0, 1.0)), 2)
            minutes[place] = int(np.clip(minutes[place] + random.integers(-2, 3), SHORTEST_MIN, LONGEST_MIN))
        if random.random() < 0.3:
            work[int(random.integers(STAGES))] = _level(random)
        clumped = round(float(np.clip(self.squared_variation * np.exp(random.normal(0.0, 0.3)), 1.0, 12.0)), 2)
        return replace(
            self, work=tuple(work), reasoning=tuple(reasoning), minutes=tuple(minutes), squared_variation=clumped
        )

    def scene(self) -> Scene:
        """Return the scene to fly."""
        return scene_of_scenario(build(self.document("pattern"), folder=SCENES, source="pattern"))

    def document(self, name: str, about: str = "found by python -m benchmarks.adversary") -> dict[str, Any]:
        """Return the scenario file's content, with the initial fleet that a backtest would begin with."""
        draft = self._document(name, about, {"prefill": 1, "decode": 1})
        scene = scene_of_scenario(build(draft, folder=SCENES, source=name))
        return self._document(name, about, sized(scene, use=INITIAL_USE, first_s=INITIAL_WINDOW_S))

    def _document(self, name: str, about: str, initial: Mapping[str, int]) -> dict[str, Any]:
        kinds = {
            "rag": ([w * (1.0 - r) for w, r in zip(self.work, self.reasoning, strict=True)], (3000, 0.4), (80, 0.4)),
            "reasoning": (
                [0.5 * w * r for w, r in zip(self.work, self.reasoning, strict=True)],
                (350, 0.5),
                (900, 0.5),
            ),
        }
        return {
            "kind": "Scenario",
            "name": name,
            "about": about,
            "seed": self.seed,
            "duration": f"{sum(self.minutes)}m",
            "profiles": [
                {"name": "rag", "slo": {"ttft": "2500ms", "itl": "50ms", "attainment": 0.99}},
                {"name": "reasoning", "slo": {"ttft": "2s", "itl": "40ms", "attainment": 0.99}},
            ],
            "variants": [
                {"name": role, "role": role, "costPerReplicaHour": PRICE, "maxReplicas": MAXIMUM} for role in initial
            ],
            "load": {
                "streams": [
                    self._stream(profile, rates, prompt, output) for profile, (rates, prompt, output) in kinds.items()
                ]
            },
            "supply": [
                {
                    "variant": role, "performance": "h200-tp1-qwen3-32b", "initial": count,
                    "startUp": {"median": "120s", "spread": 1.3},
                }
                for role, count in initial.items()
            ],
        }  # fmt: skip

    def _stream(
        self, profile: str, rates: list[float], prompt: tuple[float, float], output: tuple[float, float]
    ) -> dict[str, Any]:
        stages = [
            {"rate": round(max(rate, 0.005), 3), "hold": f"{m}m"} for rate, m in zip(rates, self.minutes, strict=True)
        ]
        return {
            "profile": profile,
            "stages": stages,
            "prompt": {"mean": prompt[0], "variation": prompt[1], "most": 16000},
            "output": {"mean": output[0], "variation": output[1], "most": 6000},
            "squaredVariation": self.squared_variation,
        }


def _level(random: np.random.Generator) -> float:
    return round(float(np.exp(random.uniform(np.log(LEAST), np.log(MOST)))), 3)


def _share(random: np.random.Generator) -> float:
    """Return a share that is often all or nothing: mixes flip."""
    return round(float(np.clip(random.uniform(-0.5, 1.5), 0.0, 1.0)), 2)
