"""Sweeps: traces x policies x start-up times x knobs x seeds, in parallel, with an estimate of the time left."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

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
WORKERS_WITHIN_S = 120


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
        InputError: another backend, or one whose packages or workers are not there.
    """
    if backend not in BACKENDS:
        msg = f"--backend: {backend!r} is unknown; write {' or '.join(BACKENDS)}"
        raise InputError(msg)
    begun = time.monotonic()
    count = min(workers or os.cpu_count() or 1, max(1, len(cells)))
    results = _on_dask(work, cells, count) if backend == "dask" else _here(work, cells, count, backend)
    for done, result in enumerate(results, start=1):
        if told is not None:
            spent = time.monotonic() - begun
            told(done, len(cells), spent / done * (len(cells) - done))
        yield result


def _here(work: Callable[..., T], cells: Sequence[tuple[object, ...]], workers: int, backend: str) -> Iterator[T]:
    tasks = (joblib.delayed(work)(*cell) for cell in cells)
    yield from joblib.Parallel(n_jobs=workers, backend=backend, return_as="generator")(tasks)


def _on_dask(work: Callable[..., T], cells: Sequence[tuple[object, ...]], workers: int) -> Iterator[T]:
    """Yield results from a Dask cluster, asked by its own client: joblib 1.6 waits for ever if a task of it fails."""
    with _dask(workers) as client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
        except TimeoutError as error:
            address = client.scheduler.address
            msg = f"--backend dask: no worker came to {address} within {WORKERS_WITHIN_S} s; start some, or use loky"
            raise InputError(msg) from error
        often = Counter(id(part) for cell in cells for part in cell)
        sent: dict[int, object] = {}  # what several cells have in common travels once
        for part in itertools.chain.from_iterable(cells):
            if often[id(part)] > 1 and id(part) not in sent:
                (sent[id(part)],) = client.scatter([part], broadcast=True, hash=False)
        futures = [client.submit(work, *(sent.get(id(part), part) for part in cell), pure=False) for cell in cells]
        for future in futures:
            yield future.result()


@contextmanager
def _dask(workers: int) -> Iterator[Any]:
    """Yield a client of the cluster at $DASK_SCHEDULER_ADDRESS, or of one that lives on this machine meanwhile."""
    try:
        from dask.distributed import Client, LocalCluster  # noqa: PLC0415 - an extra, loaded only where it is asked for
    except ImportError as error:
        msg = "--backend dask: Dask is not installed; install disagg-autoscaler[distributed]"
        raise InputError(msg) from error
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address:
        with Client(address) as client:  # type: ignore[no-untyped-call]  # Dask has no types
            yield client
        return
    local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)  # type: ignore[no-untyped-call]
    with local, Client(local) as client:  # type: ignore[no-untyped-call]
        yield client
