"""``autoscaler explain``: why this number, for the last or any recorded tick; and whether the record can be trusted."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from autoscaler.cli import options
from autoscaler.cli.output import Format, Jsonable, OutputOption, show
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.publish import chain, explanation, file
from autoscaler.publish.document import Json
from autoscaler.publish.explanation import Recorded

EPILOG = "Example: autoscaler explain --log decisions.jsonl --at 2026-11-22T18:05:00Z --variant decode-h200"

Data: TypeAlias = Mapping[str, Any]
MISSING = "?"
EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def explain(
    log: Annotated[Path, typer.Option("--log", help="Decision log, as `run --decision-log` writes it.")],
    *,
    at: Annotated[str | None, typer.Option("--at", help="The last tick up to this time. Default: the newest.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="Only this policy, as namespace/name.")] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Only this variant.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hash chain of the whole log instead.")] = False,
    anchor: Annotated[
        list[str] | None, typer.Option("--anchor", help="With --verify: a hash noted earlier; it has to be there.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Explain a recorded decision: demand, forecast, capacity, wanted, amendments, target, alternatives."""
    if not file.generations(log):
        msg = f"--log {log}: no such file; `autoscaler run --decision-log {log}` writes one"
        raise InputError(msg)
    if verify:
        _verify(log, anchor or (), output)
        return
    found = chains(log, options.moment(at, "--at"), policy, variant)
    data: Jsonable = found[0] if len(found) == 1 else [*found]
    show(data, ["\n\n".join("\n".join(page(one)) for one in found)], output)


def chains(
    log: Path, at: Instant | None = None, policy: str | None = None, variant: str | None = None
) -> list[dict[str, Json]]:
    """Return the explanations of one tick, the last up to a moment: of every variant, or of those that are named.

    Raises:
        InputError: no such tick or decision, or lines that are no records.
    """
    try:
        recorded = _recorded(log, at)
        chosen = recorded.subjects(policy, variant)
        if not chosen:
            raise InputError(_no_decision(log, recorded))
        found = [explanation.explained(recorded, *subject) for subject in chosen]
        for one in found:
            list(page(one))  # whatever is missing of a record is told here
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        msg = f"--log {log}: the record is damaged ({error!r}); `autoscaler explain --verify` tells which lines are"
        raise InputError(msg) from error
    return found


def _no_decision(log: Path, recorded: Recorded) -> str:
    known = ", ".join(f"{key} {name}" for key, name in recorded.subjects())
    failed = "; ".join(f"{f['step']} failed: {f['kind']}: {f['detail']}" for f in recorded.tick["failures"])
    why = f"it decided: {known}" if known else f"it decided nothing{': ' if failed else ''}{failed}"
    return f"--log {log}: no such decision in the tick of {time(recorded.tick['at'])}; {why}"


def _verify(log: Path, anchors: list[str] | tuple[()], output: Format) -> None:
    verdict = chain.verified(lines(log), anchors)
    breaks: list[Jsonable] = [{"where": found.where, "problem": found.problem} for found in verdict.breaks]
    data: Jsonable = {
        "whole": verdict.whole,
        "lines": verdict.lines,
        "first_sequence": verdict.first.sequence if verdict.first else None,
        "last_sequence": verdict.last.sequence if verdict.last else None,
        "last_hash": verdict.last.digest if verdict.last else None,
        "breaks": breaks,
    }
    told = [f"{found.where}: {found.problem}" for found in verdict.breaks]
    if verdict.whole and verdict.first and verdict.last:
        earlier = "" if verdict.first.sequence == 1 else f", {verdict.first.sequence - 1} older ones rotated away"
        told = [
            f"whole: {verdict.lines} lines, {verdict.first.sequence} to {verdict.last.sequence}{earlier}",
            f"last hash: {verdict.last.digest}",
        ]
    show(data, told, output)
    if not verdict.whole:
        raise typer.Exit(1)


def lines(log: Path) -> Iterator[tuple[str, str]]:
    """Yield place and text of every line, oldest file first."""
    for path in file.generations(log):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                yield f"{path}:{number}", line.rstrip("\n")


def _recorded(log: Path, at: Instant | None) -> Recorded:
    """Return the last tick up to a moment, with its policies.

    Raises:
        InputError: there is none, or a line is no record.
    """
    tick: Data | None = None
    governing: Mapping[str, Any] = {}
    policies: Mapping[str, Any] = {}
    first: float | None = None
    for where, line in lines(log):
        entry = _entry(where, line)
        if entry.get("kind") == "policies":
            governing = entry["policies"]
            continue
        first = entry["at"] if first is None else first
        if at is None or entry["at"] <= at:
            tick, policies = entry, governing
    if tick is None:
        begin = "no tick at all" if first is None else f"its first tick is of {time(first)}"
        msg = f"--log {log}: no tick up to that time; {begin}"
        raise InputError(msg)
    return Recorded(tick, policies)


def _entry(where: str, line: str) -> Data:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: no record: {error}; `autoscaler explain --verify` tells what else is wrong"
        raise InputError(msg) from error
    if not isinstance(entry, dict) or (entry.get("kind") != "policies" and not {"at", "plan"} <= entry.keys()):
        msg = f"{where}: no record of a tick; is this a decision log?"
        raise InputError(msg)
    return entry


def time(at: float) -> str:
    """Return a moment as people read it.

    Raises:
        ArithmeticError: it is outside of the calendar (what ``fromtimestamp`` raises is the operating system's choice).
    """
    return (EPOCH + dt.timedelta(seconds=at)).strftime("%Y-%m-%d %H:%M:%S UTC")


def page(one: Data) -> Iterator[str]:
    """Yield the lines of one variant's explanation."""
    version = f", version {one['policy_version']}" if one["policy_version"] else ""
    yield f"{one['policy']} {one['variant']} ({one['role']}) at {time(one['at'])}; mode {one['mode']}{version}"
    yield from _section("demand", _demand(one))
    yield from _section("forecast", _forecast(one))
    yield from _section("capacity", _capacity(one))
    yield from _section("wanted", _wanted(one))
    yield from _section(
        "amended", [_amendment(item) for item in one["amendments"]] or ["nothing: wanted is the target"]
    )
    yield from _section("target", _target(one))
    yield from _section("instead", [_alternative(item) for item in one["alternatives"]])
    yield from _section("missing", [_gap(item) for item in one["missing"]])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"  {title if number == 0 else '':<10}{line}"


REQUESTS = ("requests_per_second", "requests/s")
PROMPTS = ("uncached_prompt_tokens_per_second", "uncached prompt tokens/s")
OUTPUTS = ("output_tokens_per_second", "output tokens/s")
RATES = {"prefill": (REQUESTS, PROMPTS), "decode": (REQUESTS, OUTPUTS)}


def _demand(one: Data) -> list[str]:
    """Return a line for each profile that asks for anything, or of which that is not known."""
    lines = []
    for item in one["demand"]:
        measured, expected = item["measured"], item["expected"]
        rates = RATES.get(one["role"], (REQUESTS, PROMPTS, OUTPUTS))
        if any(measured[key] or expected[key] for key, _ in rates):
            told = (f"{_number(measured[key])} {unit} ({_number(expected[key])} expected)" for key, unit in rates)
            kept = f"TTFT kept {_share(item['ttft_within_limit'])}, ITL kept {_share(item['itl_within_limit'])}"
            lines.append(f"{item['profile']}: {', '.join(told)}; {kept}")
    return lines or ["none of any profile"]


def _forecast(one: Data) -> list[str]:
    found = one["forecast"]
    if found is None:
        return ["none was needed, or none possible"]
    expected, highest = _number(found["expected_tokens_per_s"]), _number(found["highest_tokens_per_s"])
    return [f"in {found['horizon_s']:.0f} s: {expected} {found['unit']} expected, {highest} at most"]


def _capacity(one: Data) -> list[str]:
    found = one["capacity"]
    if found is None:
        return ["no load to set against it"]
    each = _number(found["tokens_per_s_per_busy_replica"])
    return [f"a busy replica does {each} tokens/s, so the load keeps {found['busy_replicas']:.2f} replicas busy"]


def _wanted(one: Data) -> list[str]:
    found = one["wanted"]
    lines = [f"{found['uncapped']}: {found['code'] or MISSING}: {found['message'] or 'no reason was recorded'}"]
    if found["attainment"] is not None:
        limit = f"its limit of {_number(found['limit_s'])} s"
        kept, goal = _share(found["attainment"]), _share(found["goal"])
        lines.append(f"with it {kept} of {found['profile']}'s requests keep {limit} in this role; {goal} are to")
    return lines


def _amendment(item: Data) -> str:
    step = f"{item['from']} to {item['to']}: " if item["from"] is not None and item["to"] is not None else ""
    return f"{step}{item['code']}: {item['message']}"


def _target(one: Data) -> list[str]:
    found = one["target"]
    seen = f"requested {_count(found['requested'])}, ready {_count(found['ready'])}"
    lines = [f"{found['wanted']} ({seen}); {found['lower']} to {found['upper']} could be defended"]
    for item in one["actions"]:
        detail = f": {item['detail']}" if item["detail"] else ""
        step = f" from {item['observed']} to {item['replicas']}" if "replicas" in item else f" {item.get('pod', '')}"
        lines.append(f"{item['action']}{step}: {item['result']}{detail}")
    return lines


def _alternative(item: Data) -> str:
    if "missed_by" not in item:
        more = "" if item["more_per_hour"] is None else f", {item['more_per_hour']:+.2f} against the choice"
        cost = MISSING if item["cost_per_hour"] is None else f"{item['cost_per_hour']:.2f}"
        if item["replicas"] is None:
            return f"{item['instead']}: {cost} per hour{more}"
        allowed = item["allowed"]
        over = f"; maxReplicas is {allowed}" if allowed is not None and item["replicas"] > allowed else ""
        return f"{item['instead']}: {item['replicas']} replicas at {cost} per hour{more}{over}"
    if item["replicas"] == 0:
        return f"{item['instead']}: none, so that nothing would serve {item['profile']} in this role"
    saved = "" if item["saves_per_hour"] is None else f"; it would save {item['saves_per_hour']:.2f} per hour"
    kept, goal = _share(item["attainment"]), _share(item["goal"])
    missed = f"misses its goal of {goal} by {100 * item['missed_by']:.1f} points" if item["missed_by"] else "keeps it"
    limit = f"the limit of {_number(item['limit_s'])} s"
    return f"{item['instead']} ({item['replicas']}): {item['profile']} keeps {limit} for {kept}, {missed}{saved}"


def _gap(item: Data) -> str:
    detail = f": {item['missing']['detail']}" if item["missing"]["detail"] else ""
    subject = f" of {item['subject']}" if item["subject"] else ""
    return f"{item['signal']}{subject} is {item['missing']['missing']} since {time(item['missing']['since'])}{detail}"


def _number(value: Any) -> str:  # noqa: ANN401 - a number, None, or that it is missing
    if isinstance(value, Mapping):
        return str(value.get("missing", MISSING))
    return MISSING if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f} %"


def _count(value: int | None) -> str:
    return MISSING if value is None else str(value)
