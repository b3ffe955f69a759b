"""What is flown: scenario files of the development set, and any trace under any policy.

The development set is data. The half ``choosing`` may be looked at while the product is changed; the half
``confirming`` tells whether a change holds where nobody looked. Given traces are a third group.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from autoscaler.backtest.scene import Scene, scene_of, scene_of_scenario
from autoscaler.cli import wiring
from autoscaler.errors import InputError
from autoscaler.simulate.cluster import ClusterSettings
from autoscaler.simulate.router import Routing
from autoscaler.simulate.scenario import read_scenario
from autoscaler.simulate.trace_files import read_trace

ROOT = Path(__file__).resolve().parents[2]
SCENES = Path(__file__).resolve().parent / "scenes"
KNOWN = tuple(
    ROOT / "examples" / "scenarios" / f"{name}.yaml" for name in ("pd-ramp-8192-256", "rag-burst", "wva-bursty")
)
"""Scenarios that shaped the product while it was written, hence of the choosing half."""


class Half(StrEnum):
    """Who may be changed by looking at a track's results."""

    CHOOSING = "choosing"
    CONFIRMING = "confirming"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Track:
    """One load with its policy and engines; a file, so that it travels to another process as a name."""

    name: str
    half: Half
    file: Path  # a scenario; with ``policy``: a trace
    policy: Path | None = None

    @property
    def digest(self) -> str:
        """Return a hash of what the track's own files hold."""
        files = [self.file] if self.policy is None else [self.file, self.policy]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def development() -> tuple[Track, ...]:
    """Return the development set, choosing half first."""
    own = [
        Track(file.stem, half, file)
        for half in (Half.CHOOSING, Half.CONFIRMING)
        for file in sorted((SCENES / half).glob("*.yaml"))
    ]
    known = [Track(file.stem, Half.CHOOSING, file) for file in KNOWN]
    return tuple(sorted([*own, *known], key=lambda track: (track.half, track.name)))


def given(traces: Sequence[Path], policies: Sequence[Path]) -> tuple[Track, ...]:
    """Return a track per trace; one policy serves all of them, or each has its own, in the same order.

    Raises:
        InputError: another number of policies, two traces of one name, or a file that is not there.
    """
    if len(policies) not in {1, len(traces)}:
        msg = f"--policy: {len(policies)} for {len(traces)} traces; give one for all of them, or one for each"
        raise InputError(msg)
    for file in (*traces, *policies):
        if not file.is_file():
            msg = f"{file}: no such file"
            raise InputError(msg)
    names = [trace.name.split(".")[0] for trace in traces]
    if len(set(names)) < len(names):
        msg = f"--trace: two files of one name among {', '.join(names)}; rename one"
        raise InputError(msg)
    chosen = policies if len(policies) == len(traces) else list(policies) * len(traces)
    return tuple(
        Track(name, Half.GIVEN, trace, policy) for name, trace, policy in zip(names, traces, chosen, strict=True)
    )


@lru_cache(maxsize=2)
def scene(track: Track) -> Scene:
    """Return the scene of a track; the last two are kept, as cells of a track follow each other.

    A trace is flown in the tunnel that the picker of llm-d routes; requests without a profile belong to the policy's
    only profile.

    Raises:
        InputError: a file that cannot be used, or a trace with profiles that its policy does not name.
    """
    if track.policy is None:
        return scene_of_scenario(read_scenario(track.file))
    loaded = wiring.policies([track.policy])
    if len(loaded) != 1:
        msg = f"{track.policy}: holds {len(loaded)} policies; a trace is flown under one"
        raise InputError(msg)
    policy = loaded[0]
    only = policy.profiles[0].name if len(policy.profiles) == 1 else "default"
    trace = read_trace(track.file, profile=only)
    unknown = sorted(set(trace.profiles) - {profile.name for profile in policy.profiles})
    if unknown:
        msg = f"{track.file}: profile {', '.join(unknown)} is not in the policy {track.policy}; name it there"
        raise InputError(msg)
    cached = trace.hash_ids is not None
    settings = ClusterSettings(prefix_caching=cached, routing=Routing.PICKER if cached else Routing.LEAST_LOADED)
    return scene_of(policy, trace, wiring.priors_of(policy), settings=settings)
