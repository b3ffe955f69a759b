"""Every signal that is read, declared once as data; two back ends evaluate the same declarations.

A reading is one query for all models, variants and pods at once; the join by namespace, model and pod comes afterwards.
Where a signal has several names (generations of the endpoint picker, versions of an engine), the names are alternatives
in order of preference: two of them are never added up. Traps behind the choices: ``docs/reference/metrics.md``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from autoscaler.domain.units import Instant, Seconds


class Dialect(StrEnum):
    """Who speaks: which program, and which generation of its names."""

    EPP = "epp"  # llm-d router from v0.9: llm_d_epp_*
    EPP_OLD = "epp-old"  # inference_objective_*, inference_extension_*: until v0.9, doubled up to v0.10
    VLLM = "vllm"  # 0.12 and later
    VLLM_OLD = "vllm-old"  # names that ended between 0.10 and 0.20


class Kind(StrEnum):
    """What a series is; it decides which functions make sense on it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  # read through its _bucket, _sum and _count counters
    INFO = "info"  # the labels are the value


class Function(StrEnum):
    """What is taken of each series before series are joined (sums come after rates, never before)."""

    RATE = "rate"  # per second over the window, resets of the counter taken out
    AVERAGE = "avg_over_time"
    PEAK = "max_over_time"
    LAST = "last"
    TIME = "timestamp"  # of the newest sample
    TRAIL = "trail"  # the aggregate itself, sampled over the window: for slopes of a sum whose members come and go
    TIMES = "times"  # of the samples in the window, sampled over it: for what the window does not cover
    BEFORE = "before"  # how many samples there are over the span before the fast window: who has some is not new


class Span(StrEnum):
    """Over how long: fast for what moves with load, long for what a request is like."""

    NONE = "none"
    FAST = "fast"
    LONG = "long"
    PEAK = "peak"


class Side(StrEnum):
    """On whose pods a signal counts: in a P/D pair every request is seen by both."""

    PICKER = "picker"
    PREFILL = "prefill"  # prefill and unified
    DECODE = "decode"  # decode and unified
    BOTH = "both"  # kept per pod


NAMESPACE, MODEL, POD, ENGINE, LE = "namespace", "model_name", "pod", "engine", "le"
ROLE = "llm_d_ai_role"
"""The pod label ``llm-d.ai/role`` as a scrape configuration copies it."""

BY_PROFILE = (NAMESPACE, MODEL, "target_model_name", "fairness_id", "priority")
BY_PICKER = (NAMESPACE, MODEL, POD)
BY_POD = (NAMESPACE, MODEL, POD, ROLE)
BY_ROLE = (NAMESPACE, MODEL, ROLE)
SIZE_LABELS = ("num_gpu_blocks", "block_size", "kv_cache_size_tokens")

TRAIL_STEP = Seconds(15.0)
"""Distance of a trail's points; Prometheus aligns them to multiples of it."""

TIMES_POINTS = 20
"""From how many points of a window its samples are looked for: an end is known to a twentieth of it."""

PEAK_WINDOW = Seconds(60.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One name of a signal. ``own``: labels that tell its series apart besides those that are kept and the pod's."""

    dialect: Dialect
    name: str
    own: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()  # label equalities
    named: bool = True  # carries a model name (cache_config_info and the picker's pool gauges do not)


@dataclass(frozen=True, slots=True)
class Reading:
    """One query: alternatives of a series, a function over a span, and how the series join.

    A target that is scraped twice shows each series twice: the largest of equals counts, then members are joined.
    ``either``: where a better alternative has a row with the same values of these labels, a worse one is left out.
    ``seldom``: asked only of the models of which the other readings do not tell enough.
    """

    name: str
    kind: Kind
    side: Side
    series: tuple[Series, ...]
    function: Function
    span: Span
    by: tuple[str, ...]
    either: tuple[str, ...]
    join: str = "sum"  # sum, max, min or avg over the members of a group
    seldom: bool = False


@dataclass(frozen=True, slots=True)
class Windows:
    """The lengths behind the spans."""

    fast: Seconds = Seconds(120.0)  # at least four scrape intervals
    long: Seconds = Seconds(600.0)

    def of(self, span: Span) -> Seconds:
        """Return the length of a span."""
        return {Span.NONE: Seconds(0.0), Span.FAST: self.fast, Span.LONG: self.long, Span.PEAK: PEAK_WINDOW}[span]

    def step(self, reading: "Reading") -> Seconds | None:
        """Return the distance (whole milliseconds) of the points of a reading that has several in its window."""
        match reading.function:
            case Function.TRAIL:
                return TRAIL_STEP
            case Function.TIMES:
                return Seconds(max(1, round(self.of(reading.span) * 1000 / TIMES_POINTS)) / 1000)
            case _:
                return None

    def points(self, reading: "Reading", start: Instant, end: Instant) -> list[Instant]:
        """Return the multiples of the step in a closed range, as Prometheus takes them."""
        step = round((self.step(reading) or TRAIL_STEP) * 1000)
        first, last = -(-round(start * 1000) // step), round(end * 1000) // step
        return [Instant(n * step / 1000) for n in range(first, last + 1)]


def _picker(name: str, new: str, old: str | None, reading: Reading, suffix: str = "") -> Reading:
    """Return a reading of the endpoint picker under its new and, where there is one, its old name."""
    # the time to the first byte of a response that does not stream is the whole duration
    where = (("streaming", "true"),) if "ttft" in new else ()
    own = (POD, "inference_pool", "outcome") if _FLOW in new else (POD,)
    series = [Series(Dialect.EPP, f"llm_d_epp_{new}{suffix}", own=own, where=where)]
    if old is not None:
        series.append(Series(Dialect.EPP_OLD, f"inference_{old}{suffix}", own=own))
    return replace(reading, name=name, series=tuple(series))


def _vllm(name: str, metric: str, reading: Reading, *own: str, old: tuple[Series, ...] = ()) -> Reading:
    """Return a reading of vLLM's engines."""
    return replace(reading, name=name, series=(Series(Dialect.VLLM, f"vllm:{metric}", own=(ENGINE, *own)), *old))


def _reading(kind: Kind, side: Side, function: Function, span: Span, by: tuple[str, ...], join: str = "sum") -> Reading:
    either = (NAMESPACE, MODEL) if side is Side.PICKER else tuple(label for label in by if label in {NAMESPACE, POD})
    return Reading("", kind, side, (), function, span, by, either, join)


_RATE = _reading(Kind.COUNTER, Side.PICKER, Function.RATE, Span.FAST, BY_PROFILE)
_TRAIL = _reading(Kind.GAUGE, Side.PICKER, Function.TRAIL, Span.FAST, BY_PROFILE)
_LENGTH_SUM = replace(_RATE, kind=Kind.HISTOGRAM, span=Span.LONG)
_LENGTH_BUCKET = replace(_LENGTH_SUM, by=(*BY_PROFILE, LE))
_WAIT_SUM = replace(_RATE, kind=Kind.HISTOGRAM)
_WAIT_BUCKET = replace(_WAIT_SUM, by=(*BY_PROFILE, LE))
_FLOW = "flow_control"

PICKER_READINGS = (
    _picker("requests", "request_total", "objective_request_total", _RATE),
    _picker(
        "picker_newest",
        "request_total",
        "objective_request_total",
        _reading(Kind.GAUGE, Side.PICKER, Function.TIME, Span.NONE, BY_PICKER, "max"),
    ),
    _picker(
        "picker_times",
        "request_total",
        "objective_request_total",
        _reading(Kind.GAUGE, Side.PICKER, Function.TIMES, Span.FAST, BY_PICKER, "max"),
    ),
    _picker(
        "picker_before",
        "request_total",
        "objective_request_total",
        _reading(Kind.GAUGE, Side.PICKER, Function.BEFORE, Span.LONG, BY_PICKER, "max"),
    ),
    _picker("durations", "request_duration_seconds", "objective_request_duration_seconds", _LENGTH_SUM, "_count"),
    _picker("prompt_tokens_sum", "request_input_tokens", "objective_input_tokens", _LENGTH_SUM, "_sum"),
    _picker("prompt_tokens_bucket", "request_input_tokens", "objective_input_tokens", _LENGTH_BUCKET, "_bucket"),
    _picker("output_tokens_sum", "request_output_tokens", "objective_output_tokens", _LENGTH_SUM, "_sum"),
    _picker("output_tokens_bucket", "request_output_tokens", "objective_output_tokens", _LENGTH_BUCKET, "_bucket"),
    _picker("ttft_sum", "request_ttft_seconds", None, _WAIT_SUM, "_sum"),
    _picker("ttft_bucket", "request_ttft_seconds", None, _WAIT_BUCKET, "_bucket"),
    _picker("itl_sum", "request_streaming_itl_seconds", None, _WAIT_SUM, "_sum"),
    _picker("itl_bucket", "request_streaming_itl_seconds", None, _WAIT_BUCKET, "_bucket"),
    _picker(
        "flow_arrivals",
        f"{_FLOW}_request_queue_duration_seconds",
        f"extension_{_FLOW}_request_queue_duration_seconds",
        _WAIT_SUM,
        "_count",
    ),
    _picker("flow_queue", f"{_FLOW}_queue_size", f"extension_{_FLOW}_queue_size", _TRAIL),
)


def _by_pod(kind: Kind, side: Side, function: Function = Function.RATE, join: str = "sum") -> Reading:
    spans = {
        Function.PEAK: Span.PEAK,
        Function.LAST: Span.NONE,
        Function.TIME: Span.NONE,
        Function.BEFORE: Span.LONG,
    }
    span = spans.get(function, Span.FAST)
    return _reading(kind, side, function, span, BY_POD, join)


_COUNT = _by_pod(Kind.COUNTER, Side.BOTH)
_TIMES = _by_pod(Kind.HISTOGRAM, Side.BOTH)
_BUCKETS = replace(_TIMES, by=(*BY_POD, LE), seldom=True)
_SHARED = replace(_TIMES, by=(*BY_ROLE, LE))
_LENGTHS = replace(_TIMES, span=Span.LONG, seldom=True)
_PEAK = _by_pod(Kind.GAUGE, Side.BOTH, Function.PEAK)
_MEAN = _by_pod(Kind.GAUGE, Side.BOTH, Function.AVERAGE)
_TRAIL_POD = _by_pod(Kind.GAUGE, Side.BOTH, Function.TRAIL)
_REASON = "num_requests_waiting_by_reason"
_SOURCES = replace(_COUNT, by=(*BY_POD, "source"))


def _waiting(reason: str, old: tuple[Series, ...]) -> Reading:
    series = Series(Dialect.VLLM, f"vllm:{_REASON}", own=(ENGINE,), where=(("reason", reason),))
    return replace(_PEAK, name=f"waiting_{reason}", series=(series, *old))


def _waits(name: str, metric: str) -> tuple[Reading, ...]:
    """Return the readings of a histogram of times: sum and count by pod, buckets added up; seldom those of each pod.

    Buckets by pod would be more than half of all that is read.
    """
    bucket = f"vllm:{metric}_bucket"
    whole = Series(Dialect.VLLM, bucket, own=(ENGINE,), where=((LE, "+Inf"),))
    return (
        _vllm(f"{name}_sum", f"{metric}_sum", _TIMES),
        replace(_TIMES, name=f"{name}_count", series=(whole,)),
        _vllm(f"{name}_shared", f"{metric}_bucket", _SHARED, POD),
        _vllm(f"{name}_bucket", f"{metric}_bucket", _BUCKETS),
    )


ENGINE_READINGS = (
    _vllm("engine_newest", "num_requests_running", _by_pod(Kind.GAUGE, Side.BOTH, Function.TIME, "max")),
    _vllm("engine_times", "num_requests_running", _by_pod(Kind.GAUGE, Side.BOTH, Function.TIMES, "max")),
    _vllm("engine_before", "num_requests_running", _by_pod(Kind.GAUGE, Side.BOTH, Function.BEFORE, "max")),
    # calibration pairs the mean batch and the mean KV use of a window with the mean latency of the same window
    _vllm("running", "num_requests_running", _MEAN),
    _vllm(
        "kv_use",
        "kv_cache_usage_perc",
        replace(_MEAN, join="avg"),
        old=(Series(Dialect.VLLM_OLD, "vllm:gpu_cache_usage_perc", own=(ENGINE,)),),
    ),
    _waiting("capacity", (Series(Dialect.VLLM_OLD, "vllm:num_requests_waiting", own=(ENGINE,)),)),
    _waiting("deferred", ()),
    _vllm("running_trail", "num_requests_running", _TRAIL_POD),
    _vllm("waiting_trail", "num_requests_waiting", _TRAIL_POD),
    Reading(
        "kv_size",
        Kind.INFO,
        Side.BOTH,
        (Series(Dialect.VLLM, "vllm:cache_config_info", named=False),),
        Function.LAST,
        Span.NONE,
        (NAMESPACE, POD, ENGINE, *SIZE_LABELS),
        (NAMESPACE, POD),
        "max",
    ),
    _vllm("prompts", "prompt_tokens_total", _COUNT),
    _vllm("prompt_sources", "prompt_tokens_by_source_total", _SOURCES),
    _vllm("prompt_sources_long", "prompt_tokens_by_source_total", replace(_SOURCES, span=Span.LONG, seldom=True)),
    _vllm(
        "prefix_hits",
        "prefix_cache_hits_total",
        replace(_COUNT, seldom=True),
        old=(Series(Dialect.VLLM_OLD, "vllm:gpu_prefix_cache_hits_total", own=(ENGINE,)),),
    ),
    _vllm("generated", "generation_tokens_total", _COUNT),
    _vllm("finished", "request_success_total", _COUNT, "finished_reason"),
    _vllm("preemptions", "num_preemptions_total", _COUNT),
    *_waits("engine_itl", "inter_token_latency_seconds"),
    *_waits("engine_ttft", "time_to_first_token_seconds"),
    _vllm("prefill_time_sum", "request_prefill_time_seconds_sum", _TIMES),
    _vllm("prefill_time_count", "request_prefill_time_seconds_count", _TIMES),
    _vllm("queue_time_sum", "request_queue_time_seconds_sum", _TIMES),
    _vllm("queue_time_count", "request_queue_time_seconds_count", _TIMES),
    _vllm("engine_prompt_sum", "request_prompt_tokens_sum", _LENGTHS),
    _vllm("engine_prompt_bucket", "request_prompt_tokens_bucket", replace(_BUCKETS, span=Span.LONG)),
    _vllm("engine_output_sum", "request_generation_tokens_sum", _LENGTHS),
    _vllm("engine_output_bucket", "request_generation_tokens_bucket", replace(_BUCKETS, span=Span.LONG)),
)

READINGS = (*PICKER_READINGS, *ENGINE_READINGS)


def keeping(labels: Iterable[str] = ()) -> Mapping[str, Reading]:
    """Return all readings by name, with more labels kept through every join (those that policies match on)."""
    kept = tuple(labels)
    readings = (replace(r, by=(*r.by, *kept), either=(*r.either, *kept)) for r in READINGS)
    return MappingProxyType({reading.name: reading for reading in readings})


def series_names() -> frozenset[str]:
    """Return every name that is read: what a recording or a scrape has to keep."""
    return frozenset(series.name for reading in READINGS for series in reading.series)
