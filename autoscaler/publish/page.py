"""The status page: one HTML document from the board, without a script, readable on a phone and without colours."""

import base64
import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import Latency, ModelObservation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, VariantPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.publish import board as boards
from autoscaler.publish import chart, document
from autoscaler.publish.board import Board, Decision
from autoscaler.publish.document import Json
from autoscaler.publish.markup import Child, Markup, tag, text

STYLE = files("autoscaler.publish").joinpath("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

IN_FULL = 6
"""With more policies than these the page begins with a list of them."""

SHOWN_DECISIONS = 30
REFRESH_SECONDS = 15
UNKNOWN = "?"


def status(board: Board, complaint: str, now: Instant) -> Json:
    """Return what the page shows as data with stable keys."""
    record = board.record
    return {
        "now": now,
        "ready": not complaint,
        "complaint": complaint,
        "at": None if record is None else record.observation.at,
        "policies": [] if record is None else [document.decision(record, policy) for policy in board.policies],
        "decisions": [document.plain(decision) for decision in board.decisions],
    }


def page(board: Board, complaint: str, now: Instant, *, chosen: str | None = None, refresh: bool = False) -> str:
    """Return the page. ``chosen``: key of the only policy to show; ``refresh``: load it again by itself."""
    record = board.record
    shown = [policy for policy in board.policies if chosen in {None, policy.key}]
    title = f"{chosen or 'Disaggregated autoscaler'}: {'ready' if not complaint else 'not ready'}"
    body: list[Markup] = [_header(board, complaint, now, refresh=refresh)]
    if record is None:
        body.append(tag("p", "No tick yet: the first one comes within seconds."))
    elif chosen is None and len(shown) > IN_FULL:
        body.append(_overview(shown, record))
    else:
        body += [_policy(board, record, policy) for policy in shown]
    if chosen is not None and not shown:
        body.append(tag("p", f"There is no policy {chosen}."))
    body.append(_decisions([d for d in board.decisions if chosen in {None, d.policy}][:SHOWN_DECISIONS]))
    head = text(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=REFRESH_SECONDS) if refresh else None,
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        Markup(f"<style>{STYLE}</style>"),
    )
    skip = tag("a", "Skip to the content", href="#content", class_="skip")
    return "<!doctype html>" + tag(
        "html", tag("head", head), tag("body", skip, tag("main", *body, id="content")), lang="en"
    )


def _header(board: Board, complaint: str, now: Instant, *, refresh: bool) -> Markup:
    record = board.record
    state = tag("strong", "not ready" if complaint else "ready", class_="bad" if complaint else "good")
    seen = "" if record is None else f"as of {moment(record.observation.at)}, {now - record.observation.at:.0f} s ago"
    again = tag("a", "stop refreshing", href="/") if refresh else tag("a", "refresh by itself", href="/?refresh=1")
    links = (tag("a", "JSON", href="/status.json"), tag("a", "metrics", href="/metrics"))
    return tag(
        "header",
        tag("h1", "Disaggregated autoscaler"),
        tag("p", state, f" {complaint}" if complaint else None, text(" ", tag("span", seen, class_="quiet"))),
        tag("nav", again, " ", links[0], " ", links[1], aria_label="Views"),
    )


def _overview(policies: Sequence[SLOPolicy], record: TickRecord) -> Markup:
    rows = []
    for policy in policies:
        model = record.plan.models.get(policy.key, ModelPlan(policy.key, {}))
        gaps = sum(1 for gap in record.observation.gaps if gap.policy == policy.key)
        link = tag("a", policy.key, href=f"/?policy={policy.key}")
        wanted = ", ".join(f"{name} {plan.target}" for name, plan in model.variants.items())
        rows.append((link, policy.mode.value, wanted or UNKNOWN, _kept(policy, record), gaps))
    return tag("section", _table("Policies", ("policy", "mode", "wanted", "SLO", "missing"), rows))


def _kept(policy: SLOPolicy, record: TickRecord) -> Markup:
    model = record.observation.models.get(policy.key)
    judged = [_judged(load.ttft, profile) for profile, load in _loads(policy, model)]
    judged += [_judged(load.itl, profile) for profile, load in _loads(policy, model)]
    if False in judged:
        return tag("span", "missed", class_="bad")
    return tag("span", "kept", class_="good") if True in judged else tag("span", UNKNOWN)


def _policy(board: Board, record: TickRecord, policy: SLOPolicy) -> Markup:
    model = record.observation.models.get(policy.key)
    plan = record.plan.models.get(policy.key, ModelPlan(policy.key, {}))
    notes = [f"model {policy.model}", f"mode {policy.mode.value}", _cost(policy, plan)]
    if model and (model.paused or model.paused_scale_down):
        notes.append("paused by annotation" if model.paused else "scale-down paused by annotation")
    return tag(
        "section",
        tag("h2", policy.key),
        tag("p", "; ".join(note for note in notes if note), class_="quiet"),
        _variants(policy, model, plan),
        tag("div", *_charts(board, record, policy), class_="charts"),
        _profiles(policy, model),
        _missing(record, policy),
    )


def _cost(policy: SLOPolicy, plan: ModelPlan) -> str:
    priced = [policy.variant(name).cost_per_replica_hour * p.target for name, p in plan.variants.items()]
    return f"wanted costs {sum(priced):.2f} per hour" if priced else ""


def _variants(policy: SLOPolicy, model: ModelObservation | None, plan: ModelPlan) -> Markup:
    columns = ("variant", "role", "wanted", "requested", "ready", "draining", "uncut", "why")
    rows = [
        _variant(variant, model.fleet.get(variant.name) if model else None, plan.variants.get(variant.name))
        for variant in policy.variants
    ]
    return _table("Pools and variants now", columns, rows)


def _variant(variant: Variant, found: Signal[Workload] | None, plan: VariantPlan | None) -> tuple[Child, ...]:
    counts: tuple[Child, ...] = (UNKNOWN, UNKNOWN, UNKNOWN)
    if isinstance(found, Workload):
        counts = (found.requested, found.ready, found.draining)
    named = (tag("b", variant.name), variant.role.value)
    if plan is None:
        return (*named, UNKNOWN, *counts, UNKNOWN, "nothing was decided")
    why = "; ".join(dict.fromkeys(reason.message for reason in plan.reasons)) or "as it is"
    return (*named, tag("b", plan.target), *counts, plan.uncapped, why)


def _charts(board: Board, record: TickRecord, policy: SLOPolicy) -> Iterator[Markup]:
    hours = boards.WINDOW / 3600
    for variant in policy.variants:
        title = f"{variant.name}: wanted and ready replicas over the last {hours:.0f} hours"
        drawn = chart.counts(
            board.points(policy.key, variant.name), record.observation.at, Seconds(boards.WINDOW), title
        )
        key = text(tag("span", "wanted", class_="key-wanted"), " ", tag("span", "ready", class_="key-ready"))
        yield tag("figure", tag("figcaption", variant.name, " ", key), drawn)


def _loads(policy: SLOPolicy, model: ModelObservation | None) -> Iterator[tuple[RequestProfile, ProfileLoad]]:
    for profile in policy.profiles:
        if model and profile.name in model.loads:
            yield profile, model.loads[profile.name]


def _profiles(policy: SLOPolicy, model: ModelObservation | None) -> Markup | None:
    columns = ("profile", "requests/s", "TTFT kept", "TTFT p90", "ITL kept", "ITL p90", "goal")
    rows = [
        (
            tag("b", profile.name),
            _rate(load.requests_per_second),
            _share(load.ttft, profile, profile.slo.ttft),
            _tail(load.ttft),
            _share(load.itl, profile, profile.slo.itl),
            _tail(load.itl),
            f"{profile.slo.attainment:.1%}",
        )
        for profile, load in _loads(policy, model)
    ]
    return _table("SLO against measured", columns, rows) if rows else None


def _rate(signal: Signal[float]) -> Child:
    return signal.reason.value if isinstance(signal, Missing) else f"{signal:.2f}"


def _judged(latency: Signal[Latency], profile: RequestProfile) -> bool | None:
    """Tell whether a limit is kept; None where nothing was measured."""
    return latency.within_slo >= profile.slo.attainment if isinstance(latency, Latency) else None


def _share(latency: Signal[Latency], profile: RequestProfile, limit: Seconds) -> Markup:
    if not isinstance(latency, Latency):
        return tag("span", "-" if latency.reason.value == "not-a-number" else latency.reason.value, class_="quiet")
    kept = _judged(latency, profile)
    mark = tag("span", "kept" if kept else "missed", class_="good" if kept else "bad")
    within = f"{limit:g} s" if limit >= 1 else f"{1000 * limit:g} ms"
    return text(f"{latency.within_slo:.1%} in {within} ", mark)


def _tail(latency: Signal[Latency]) -> Child:
    return f"{1000 * latency.p90_s:,.0f} ms" if isinstance(latency, Latency) else "-"


def _missing(record: TickRecord, policy: SLOPolicy) -> Markup | None:
    gaps = [gap for gap in record.observation.gaps if gap.policy in {"", policy.key}]
    if not gaps and not record.failures:
        return None
    rows: list[tuple[Child, ...]] = [
        (gap.signal, gap.subject, gap.missing.reason.value, moment(gap.missing.since), gap.missing.detail)
        for gap in gaps
    ]
    at = moment(record.observation.at)
    rows += [(failure.step.value, "", f"failed: {failure.kind}", at, failure.detail) for failure in record.failures]
    return _table("What is missing", ("signal", "of", "state", "since", "detail"), rows)


def _decisions(decisions: Sequence[Decision]) -> Markup:
    alone = len({decision.policy for decision in decisions}) == 1
    rows = [
        (
            moment(decision.at).removesuffix(" UTC"),
            decision.variant if alone else f"{decision.policy} {decision.variant}",
            f"{decision.wanted}" if decision.before is None else f"{decision.before} to {decision.wanted}",
            "; ".join(decision.reasons) or "as it is",
            decision.result or "nothing to do",
        )
        for decision in decisions
    ]
    if not rows:
        return tag("section", tag("h2", "Last decisions"), tag("p", "None since the start."))
    table = _table("Newest first; times in UTC", ("time", "variant", "wanted", "why", "outcome"), rows)
    return tag("section", tag("h2", "Last decisions"), table)


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Child]]) -> Markup:
    """Return a table whose cells know their column: on a phone each row turns into a list."""
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = [
        tag("tr", *(tag("td", tag("span", cell), data_label=column) for column, cell in zip(columns, row, strict=True)))
        for row in rows
    ]
    return tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))


def moment(at: float) -> str:
    """Return a moment as people read it."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
