"""The catalogue's readings asked of a Prometheus: at one moment, or over its past."""

import asyncio
import bisect
import functools
import itertools
import math
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeVar

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe import answers, catalogue, promql
from autoscaler.observe.answers import Answer, Labels, Matrix, Point
from autoscaler.observe.catalogue import Function, Reading, Windows
from autoscaler.observe.connection import Connection, TooLargeError, credentials, session
from autoscaler.observe.samples import Row, Snapshot

T = TypeVar("T")

_STATUS = re.compile(r"HTTP Status Code (\d+)")
MOST_POINTS = 10_000
MODELS_A_QUERY = 25
"""Of how many models a seldom reading is asked at once: with 40 pods each, 15,000 buckets."""
_WHOLE_SOURCE = frozenset({401, 403, 404, 408, 429})
"""Client errors that concern every query alike; any other is about one query (too many samples, a bad expression)."""


class PrometheusSource:
    """Answers every reading with one query, whatever the number of models, variants and pods."""

    def __init__(
        self,
        connection: Connection,
        namespaces: Sequence[str],
        windows: Windows,
        *,
        matchers: Mapping[str, str] = MappingProxyType({}),
        keep: Sequence[str] = (),
    ) -> None:
        """Read series of some namespaces (none: of all) that carry the given labels; keep more labels in the rows."""
        self.windows = windows
        self.queries_sent = 0
        self._connection = connection
        self._matchers = promql.scope(namespaces, matchers)
        self.readings = catalogue.keeping(promql.label_names(keep))
        self._client = _client(connection)
        self._labels = Labels()
        self._rows = 0  # that came with these labels, of the last look

    async def read(self, now: Instant) -> Snapshot:
        """Evaluate every reading that is not seldom at ``now``.

        Raises:
            ObservationError: the server does not answer, or refuses every query.
        """
        if len(self._labels) > self._rows:  # most are of series that are gone: pods come and go, clients name profiles
            self._labels = Labels()
        self._rows = 0
        often = [reading for reading in self.readings.values() if not reading.seldom]
        found = await self._at(now, often, self._matchers)
        return Snapshot(now, MappingProxyType(found), self._labels.keys_of)

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:
        """Add seldom readings of the engines of some models; a few models a query, so that no answer is too long.

        Raises:
            ObservationError: as ``read``.
        """
        seldom, names = [self.readings[name] for name in readings], sorted(models)
        found: dict[str, tuple[Row, ...] | Missing] = dict.fromkeys(readings, ())
        for first in range(0, len(names), MODELS_A_QUERY):
            matchers = (*self._matchers, promql.of_models(names[first : first + MODELS_A_QUERY]))
            for name, rows in (await self._at(snapshot.at, seldom, matchers)).items():
                found[name] = _both(found[name], rows)
        return snapshot.extended(found)

    async def _at(
        self, now: Instant, readings: Iterable[Reading], matchers: Sequence[str]
    ) -> dict[str, tuple[Row, ...] | Missing]:
        """Evaluate readings at one moment."""
        at = {"time": _stamp(now)}
        queries = {reading: (promql.instant(reading, self.windows, matchers), at) for reading in readings}
        found = await self._all(
            queries, lambda reading, answer: answers.rows(now, answer, self._labels, changes=_times(reading))
        )
        self._rows += sum(len(rows) for rows in found.values() if not isinstance(rows, Missing))
        return found

    async def read_range(
        self, start: Instant, end: Instant, step: Seconds, chunk: int = 240
    ) -> AsyncIterator[Snapshot]:
        """Yield what ``read`` would have returned at start, start + step, ..., at most ``end``; in bounded chunks.

        Raises:
            ObservationError: as ``read``.
        """
        count = math.floor((end - start) / step + 1e-9) + 1
        moments_each = min(chunk, self._most_moments(step))
        for first in range(0, count, moments_each):
            moments = [Instant(start + n * step) for n in range(first, min(first + moments_each, count))]
            for snapshot in await self._past(moments, step):
                yield snapshot

    def _most_moments(self, step: Seconds) -> int:
        """Return how many moments one query may span: Prometheus refuses series of more than 11,000 points."""
        finest = min(own for reading in self.readings.values() if (own := self.windows.step(reading)) is not None)
        return max(1, math.floor((MOST_POINTS * finest - self.windows.fast) / step))

    async def present(self, names: Sequence[str], now: Instant) -> tuple[Row, ...] | Missing:
        """Return the series of these names that are there now, of every namespace, each with all its labels.

        Raises:
            ObservationError: as ``read``.
        """
        query = f'{{__name__=~"{"|".join(names)}"}}'
        asked = {"time": _stamp(now)}
        return await self._ask(asyncio.Semaphore(), query, asked, lambda answer: answers.rows(now, answer, Labels()))

    async def scrape_interval(self, now: Instant) -> Seconds | None:
        """Return the longest of the engines' median distances between samples; None if that cannot be told."""
        selector = ", ".join(self._matchers)
        query = f"vllm:num_requests_running{{{selector}}}[5m]"
        return await self._ask(asyncio.Semaphore(), query, {"time": _stamp(now)}, _longest_median_gap)

    async def _past(self, moments: Sequence[Instant], step: Seconds) -> list[Snapshot]:
        asked = {reading: self._range_query(reading, moments, step) for reading in self.readings.values()}
        labels = Labels()
        rows = await self._all(
            asked,
            lambda reading, answer: _Past.of(answers.rows(moments[-1], answer, labels, changes=_times(reading))),
        )
        return [self._pick(moment, rows) for moment in moments]

    def _range_query(self, reading: Reading, moments: Sequence[Instant], step: Seconds) -> tuple[str, dict[str, str]]:
        start, end = moments[0], moments[-1]
        own = self.windows.step(reading)
        if own is not None:  # its own points, from which each moment takes those of its window
            reach = self.windows.of(reading.span)
            start, step = self.windows.points(reading, Instant(start - reach), Instant(start + own))[0], own
        window = {"start": _stamp(start), "end": _stamp(max(start, end)), "step": f"{step:.3f}"}
        return promql.members(reading, self.windows, self._matchers), window

    def _pick(self, moment: Instant, past: Mapping[str, "_Past"]) -> Snapshot:
        """Pick from the rows of a range those that belong to one moment."""
        picked = {}
        for name, rows in past.items():
            reading = self.readings[name]
            several = self.windows.step(reading) is not None
            reach = self.windows.of(reading.span) if several else Seconds(0.0)
            picked[name] = rows.within(moment, reach)
        return Snapshot(moment, MappingProxyType(picked))

    async def _all(
        self, queries: Mapping[Reading, tuple[str, dict[str, str]]], parse: Callable[[Reading, Answer | Missing], T]
    ) -> dict[str, T]:
        """Ask everything, a few queries at a time; the first sign that the server is gone ends the rest."""
        turns = asyncio.Semaphore(self._connection.parallel)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    reading.name: group.create_task(
                        self._ask(turns, query, arguments, functools.partial(parse, reading))
                    )
                    for reading, (query, arguments) in queries.items()
                }
        except* ObservationError as failures:
            raise failures.exceptions[0] from None
        return {name: task.result() for name, task in tasks.items()}

    async def _ask(
        self, turns: asyncio.Semaphore, query: str, arguments: dict[str, str], parse: Callable[[Answer | Missing], T]
    ) -> T:
        """Send one query and parse the answer at once: of many answers, only what is made of them is kept."""
        async with turns:
            self.queries_sent += 1
            return await asyncio.to_thread(lambda: parse(self._ask_now(query, arguments)))

    def _ask_now(self, query: str, arguments: dict[str, str]) -> Answer | Missing:
        """Send one query and wait; runs in a thread."""
        since = Instant(float(arguments.get("time") or arguments["end"]))
        try:
            if "time" in arguments:
                answer = self._client.custom_query(query, params=arguments)
            else:
                ends = [datetime.fromtimestamp(float(arguments[end]), UTC) for end in ("start", "end")]
                # the client rounds to seconds; its ``params`` win and are exact
                answer = self._client.custom_query_range(query, *ends, arguments["step"], params=arguments)
        except PrometheusApiClientException as error:
            return self._refused(error, since)
        except TooLargeError as error:
            return Missing(GapReason.UNREACHABLE, since, str(error))
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # before RequestException: bad JSON is both
            msg = f"{self._connection.name}: no Prometheus answers there ({type(error).__name__}: {str(error)[:120]})"
            raise ObservationError(msg) from error
        except requests.exceptions.SSLError as error:
            msg = f"{self._connection.name}: no trusted TLS connection; --prometheus-ca-file names the file of its CA"
            raise ObservationError(msg) from error
        except requests.RequestException as error:
            msg = f"{self._connection.name}: no answer ({type(error).__name__}); is the URL right, is the server up?"
            raise ObservationError(msg) from error
        except OSError as error:
            msg = f"{self._connection.name}: {error.strerror}: {error.filename}"
            raise ObservationError(msg) from error
        return self._bounded(answer, since)

    def _refused(self, error: PrometheusApiClientException, since: Instant) -> Missing:
        status = int(found.group(1)) if (found := _STATUS.search(str(error))) else 500
        if status in _WHOLE_SOURCE or status >= 500:
            hint = "; check the credentials" if status in {401, 403} else ""
            msg = f"{self._connection.name}: {str(error)[:200]}{hint}"
            raise ObservationError(msg) from error
        return Missing(GapReason.UNREACHABLE, since, f"query refused: {str(error)[:200]}")

    def _bounded(self, answer: Answer, since: Instant) -> Answer | Missing:
        series, limit = len(answer.result), self._connection.max_series
        if series > limit:
            return Missing(GapReason.UNREACHABLE, since, f"{series} series, at most {limit} are read")
        return answer


@dataclass(frozen=True, slots=True)
class _Past:
    """The rows of a range query in the order of their times."""

    rows: tuple[Row, ...]
    times: tuple[float, ...]
    missing: Missing | None = None

    @classmethod
    def of(cls, rows: tuple[Row, ...] | Missing) -> "_Past":
        if isinstance(rows, Missing):
            return cls((), (), rows)
        ordered = tuple(sorted(rows, key=lambda row: row.at))
        return cls(ordered, tuple(row.at for row in ordered))

    def within(self, moment: Instant, reach: Seconds) -> tuple[Row, ...] | Missing:
        """Return the rows of a moment and what ``reach`` before it; times are rounded to milliseconds."""
        low = bisect.bisect_left(self.times, moment - reach - 1e-3)
        high = bisect.bisect_right(self.times, moment + 1e-3)
        return self.missing or self.rows[low:high]


def _client(connection: Connection) -> PrometheusConnect:
    retry = Retry(
        total=connection.retries,
        backoff_factor=connection.backoff,
        status_forcelist=(408, 429, 500, 502, 503, 504),
        allowed_methods=None,  # queries change nothing: POST may be repeated
        raise_on_status=False,
    )
    return PrometheusConnect(
        connection.url.rstrip("/"),
        session=session(connection),
        retry=retry,
        auth=credentials(connection),
        timeout=connection.timeout,
        method="POST",
    )


def _stamp(at: Instant) -> str:
    return f"{at:.3f}"


def _times(reading: Reading) -> bool:
    """Tell whether a reading's values are times of samples: a sample counts once, at however many points it is seen."""
    return reading.function is Function.TIMES


def _both(some: tuple[Row, ...] | Missing, others: tuple[Row, ...] | Missing) -> tuple[Row, ...] | Missing:
    """Join the rows of two queries; if one failed, the reading did."""
    if isinstance(some, Missing):
        return some
    return others if isinstance(others, Missing) else (*some, *others)


def _longest_median_gap(answer: Answer | Missing) -> Seconds | None:
    series = answer.result if isinstance(answer, Matrix) else []
    return max((gap for one in series if (gap := _median_gap(one.values)) is not None), default=None)


def _median_gap(values: Sequence[Point]) -> Seconds | None:
    gaps = sorted(later - earlier for (earlier, _), (later, _) in itertools.pairwise(values))
    return Seconds(gaps[len(gaps) // 2]) if gaps else None
