"""Sweeps: traces x policies x start-up times x knobs x seeds, in parallel, with an estimate of the time left."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import joblib

from autoscaler.backtest import contenders
from autoscaler.backtest.scene import Scene
from autoscaler.backtest.score import Score, score
from autoscaler.backtest.timeline import Noted, Timeline, timeline
from autoscaler.errors import InputError
from autoscaler.simulate.run import Run, fly

T = TypeVar("T")

Told = Callable[[int, int, float], None]
"""Is told how many flights are done, of how many, and the seconds still to go."""

BACKENDS = ("loky", "dask", "sequential")


@dataclass(frozen=True, slots=True)
class Flight:
    """One cell of a sweep."""

    policy: str
    startup_s: float
    seed: int
    knob: float


@dataclass(frozen=True, slots=True)
class Flown:
    """A flight and what came of it; the timeline is kept for the first seed only."""

    flight: Flight
    score: Score
    timeline: Timeline | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is compared with what."""

    policies: tuple[str, ...]
    startups_s: tuple[float, ...] = (120.0,)
    seeds: int = 1
    settings: int = 1  # values of every knob; 1: as shipped

    def flights(self) -> list[Flight]:
        """Return every cell; the slowest policies come last, so that no worker waits for long.

        Raises:
            InputError: a policy that does not exist.
        """
        grids = {name: contenders.contender(name).knob.grid(self.settings) for name in self.policies}
        return [
            Flight(name, startup, seed, knob)
            for startup, seed, name in itertools.product(self.startups_s, range(self.seeds), self.policies)
            for knob in grids[name]
        ]


def flown(scene: Scene, flight: Flight) -> Flown:
    """Fly one cell. Same scene and flight, same result."""
    run, notes = one(scene, flight)
    kept = timeline(run, tuple(notes.notes)) if flight.seed == 0 else None
    return Flown(flight, score(scene.policy, run), kept)


def one(scene: Scene, flight: Flight) -> tuple[Run, Noted]:
    """Return the flight itself, and the notes of its decider."""
    player = contenders.contender(flight.policy)
    settings = replace(scene.settings, scraping=player.scraping)
    initial = None if player.initial is None else player.initial(scene, flight.knob)
    world = scene.world(scene.startup(flight.startup_s), flight.seed, initial=initial, settings=settings)
    notes = Noted(player.decider(scene, flight.startup_s, flight.knob))
    run = fly(world, notes, period=player.period, horizon=scene.horizon)
    notes.check()
    return run, notes


def over(
    work: Callable[..., T],
    cells: Sequence[tuple[object, ...]],
    *,
    workers: int | None = None,
    backend: str = "loky",
    told: Told | None = None,
) -> Iterator[T]:
    """Yield ``work(*cell)`` for every cell; the order is that of the cells, whatever the workers do.

    Args:
        work: a function that can be sent to another process.
        cells: its arguments.
        workers: processes; all cores by default. A Dask cluster has as many as it has.
        backend: one of ``BACKENDS``; dask uses the cluster at $DASK_SCHEDULER_ADDRESS, else one on this machine.
        told: hears of the progress.

    Raises:
        InputError: another backend, or one whose packages are not installed.
    """
    begun = time.monotonic()
    count = min(workers or os.cpu_count() or 1, max(1, len(cells)))
    with _backend(backend, count):
        tasks = (joblib.delayed(work)(*cell) for cell in cells)
        options: Mapping[str, object] = {} if backend == "dask" else {"n_jobs": count}
        for done, result in enumerate(joblib.Parallel(return_as="generator", **options)(tasks), start=1):
            if told is not None:
                spent = time.monotonic() - begun
                told(done, len(cells), spent / done * (len(cells) - done))
            yield result


@contextmanager
def _backend(name: str, workers: int) -> Iterator[None]:
    if name not in BACKENDS:
        msg = f"--backend: {name!r} is unknown; write {' or '.join(BACKENDS)}"
        raise InputError(msg)
    if name != "dask":
        with joblib.parallel_config(backend=name):
            yield
        return
    try:
        from dask.distributed import Client, LocalCluster  # noqa: PLC0415 - an extra, loaded only where it is asked for
    except ImportError as error:
        msg = "--backend dask: Dask is not installed; install disagg-autoscaler[distributed]"
        raise InputError(msg) from error
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address:
        with Client(address), joblib.parallel_config(backend="dask"):  # type: ignore[no-untyped-call]  # Dask has none
            yield
        return
    local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)  # type: ignore[no-untyped-call]
    with local, Client(local), joblib.parallel_config(backend="dask"):  # type: ignore[no-untyped-call]
        yield
