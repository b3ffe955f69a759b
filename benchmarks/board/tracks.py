"""What is flown: scenario files of the development set, and any trace under any policy.

The development set is data. The half ``choosing`` may be looked at while the product is changed; the half
``confirming`` tells whether a change holds where nobody looked. What the adversary found, and given traces, are
groups of their own.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import yaml

from autoscaler.backtest.scene import Scene, scene_of, scene_of_scenario
from autoscaler.cli import wiring
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.router import Routing
from autoscaler.simulate.scenario import build, read_scenario
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.trace_files import read_trace

ROOT = Path(__file__).resolve().parents[2]
SCENES = Path(__file__).resolve().parent / "scenes"
TRACES = Path(os.environ.get("DISAGG_SHARED", "../shared")) / "traces"
"""Where the larger development traces are (ServeGen's days of single requests), if they are."""

KNOWN = tuple(
    ROOT / "examples" / "scenarios" / f"{name}.yaml" for name in ("pd-ramp-8192-256", "rag-burst", "wva-bursty")
)
"""Scenarios that shaped the product while it was written, hence of the choosing half."""


class Half(StrEnum):
    """Who may be changed by looking at a track's results."""

    CHOOSING = "choosing"
    CONFIRMING = "confirming"
    ADVERSARIAL = "adversarial"  # found by ``benchmarks.adversary``
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Track:
    """One load with its policy and engines; a file, so that it travels to another process as a name."""

    name: str
    half: Half
    file: Path  # a scenario; with ``policy``: a trace
    policy: Path | None = None
    folder: Path | None = None  # where the scenario's paths begin; None: beside the scenario
    slo: float = 1.0  # limits on TTFT and ITL, times those of the file
    price: float = 1.0  # of the dearest accelerator, times that of the file

    @property
    def digest(self) -> str:
        """Return a hash of what the track's own files hold, and of what was changed in them."""
        files = [self.file] if self.policy is None else [self.file, self.policy]
        changes = f"{self.slo:g} {self.price:g}".encode()
        return hashlib.sha256(b"".join(file.read_bytes() for file in files) + changes).hexdigest()[:12]


def development() -> tuple[Track, ...]:
    """Return the development set, half by half."""
    own = [Track(file.stem, half, file) for half in Half for file in sorted((SCENES / half).glob("*.yaml"))]
    known = [Track(file.stem, Half.CHOOSING, file) for file in KNOWN]
    return _in_order([*own, *known])


def shared() -> tuple[Track, ...]:
    """Return the larger development loads, whose traces are not in this repository; none where they are not there."""
    if not TRACES.is_dir():
        return ()
    return _in_order(
        [
            Track(file.stem, half, file, folder=TRACES)
            for half in (Half.CHOOSING, Half.CONFIRMING)
            for file in sorted((SCENES / "shared" / half).glob("*.yaml"))
        ]
    )


def thinned(found: Sequence[Track], step: int) -> tuple[Track, ...]:
    """Return every so many-th track of each half, beginning with its first."""
    return tuple(track for half in Half for track in [each for each in found if each.half is half][::step])


def _in_order(found: Sequence[Track]) -> tuple[Track, ...]:
    return tuple(sorted(found, key=lambda track: ([*Half].index(track.half), track.name)))


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

    Raises:
        InputError: a file that cannot be used, or a trace with profiles that its policy does not name.
    """
    known = track.policy
    found = _scene_of_scenario(track) if known is None else _scene_of_trace(track.file, known)
    return found if track.slo == track.price == 1 else replace(found, policy=_changed(found.policy, track))


def _scene_of_scenario(track: Track) -> Scene:
    if track.folder is None:
        return scene_of_scenario(read_scenario(track.file))
    document = yaml.safe_load(track.file.read_text(encoding="utf-8"))
    return scene_of_scenario(build(document, folder=track.folder, source=str(track.file)))


def _changed(policy: SLOPolicy, track: Track) -> SLOPolicy:
    """Return a policy with other limits, and another price of its dearest accelerator."""
    dearest = max(policy.variants, key=lambda variant: variant.cost_per_replica_hour).accelerator

    def limits(slo: SLO) -> SLO:
        return replace(slo, ttft=Seconds(slo.ttft * track.slo), itl=Seconds(slo.itl * track.slo))

    def price(variant: Variant) -> Variant:
        factor = track.price if variant.accelerator == dearest else 1.0
        return replace(variant, cost_per_replica_hour=variant.cost_per_replica_hour * factor)

    return replace(
        policy,
        profiles=tuple(replace(profile, slo=limits(profile.slo)) for profile in policy.profiles),
        variants=tuple(price(variant) for variant in policy.variants),
    )


def _scene_of_trace(file: Path, under: Path) -> Scene:
    """Return the scene of a trace; requests without a profile belong to the policy's only one.

    A trace that tells shared prefixes is flown with prefix caches, routed by the picker that knows them.
    """
    loaded = wiring.policies([under])
    if len(loaded) != 1:
        msg = f"{under}: holds {len(loaded)} policies; a trace is flown under one"
        raise InputError(msg)
    policy = loaded[0]
    only = policy.profiles[0].name if len(policy.profiles) == 1 else "default"
    trace = read_trace(file, profile=only)
    unknown = sorted(set(trace.profiles) - {profile.name for profile in policy.profiles})
    if unknown:
        msg = f"{file}: profile {', '.join(unknown)} is not in the policy {under}; name it there"
        raise InputError(msg)
    cached = trace.hash_ids is not None
    settings = ClusterSettings(prefix_caching=cached, routing=Routing.PICKER if cached else Routing.LEAST_LOADED)
    return scene_of(policy, trace, wiring.priors_of(policy), settings=settings)
