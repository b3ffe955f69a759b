"""``autoscaler policy init``: a first policy from what stands in a cluster, with the bounds and damping of today."""

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from autoscaler.domain.pool import Role
from autoscaler.errors import InputError, PolicyError
from autoscaler.kube import KubeSession, Login
from autoscaler.observe import survey
from autoscaler.observe.doctor import kube
from autoscaler.observe.survey import Found, Objective
from autoscaler.policy import parse_policy

EPILOG = "Example: autoscaler policy init --namespace llm > policy.yaml"

HEAD = """\
# Written by `autoscaler policy init` from what stands in namespace {namespace}. Mode Recommend changes nothing.
# What nobody could know is marked CHANGE. Then: autoscaler policy check FILE; autoscaler doctor --policy FILE --cluster
"""
PERIODS = range(1, 1801)
LONGEST_WINDOW = 3600
SLO = "{ttft: 2s, itl: 50ms, attainment: 0.99}"


def init(
    *,
    namespace: Annotated[
        list[str], typer.Option("--namespace", "-n", help="Where the models are served; may be given several times.")
    ],
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Default: KUBECONFIG, else the pod's service account.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
) -> None:
    """Write policies for the models served in a cluster, keeping the bounds and damping of HPAs, KEDA, WVA, KServe."""
    login = Login(kubeconfig=None if kubeconfig is None else str(kubeconfig))
    found = asyncio.run(_look(login, namespace))
    drafts = [
        draft(place, served, workloads, objects)
        for place, objects in found.items()
        for served, workloads in survey.models(objects).items()
        if model in {None, served}
    ]
    if not drafts:
        looked = ", ".join(survey.WORKLOADS)
        msg = f"no model is served in {', '.join(namespace)}: no {looked} has a label llm-d.ai/role, is selected by an"
        msg += " InferencePool, or serves a model on accelerators; name another --namespace"
        raise InputError(msg)
    typer.echo("---\n".join(drafts), nl=False)
    problems = [problem for text in drafts for problem in doubts(text)]
    for problem in problems:
        typer.echo(f"warning: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


async def _look(login: Login, namespaces: Sequence[str]) -> dict[str, survey.Objects]:
    async with await KubeSession.open(jitter=random.random, login=login) as session:
        objects, unread = await kube.listed(session, namespaces, survey.SURVEYED)
    for (namespace, kind), why in unread.items():
        typer.echo(f"warning: {kind} in {namespace}: {why}", err=True)
    return {place: {kind: objects.get((place, kind), ()) for kind in survey.SURVEYED} for place in namespaces}


def doubts(text: str) -> Iterator[str]:
    """Yield why a draft cannot be used as it is."""
    try:
        parse_policy(yaml.safe_load(text))
    except PolicyError as error:
        yield from error.problems


def draft(namespace: str, model: str, workloads: Sequence[Found], objects: survey.Objects) -> str:
    """Return a commented policy for one model."""
    pool = next((found.pool for found in workloads if found.pool), "")
    lines = [
        *HEAD.format(namespace=_plain(namespace)).splitlines(),
        "apiVersion: disagg-autoscaler.io/v1alpha1",
        "kind: SLOPolicy",
        f"metadata: {{name: {_name(model)}, namespace: {_text(namespace)}}}",
        "spec:",
        f"  model: {_text(model)}  # served model name, as the metrics say it",
        "  mode: Recommend  # only says what it would do; Auto also does it",
        "",
        *_profiles(survey.objectives(objects, pool)),
        "",
        "  pools:",
        *(line for role in Role for line in _pool(role, [found for found in workloads if found.role is role])),
        *_behavior(workloads),
        *_scheduler(pool),
        *_farewell(workloads),
    ]
    return "\n".join(lines) + "\n"


def _profiles(objectives: Sequence[Objective]) -> Iterator[str]:
    yield "  profiles:  # CHANGE: what your users were promised"
    for objective in objectives:
        yield f"    - name: {_name(objective.name)}  # InferenceObjective {_plain(objective.name)}"
        yield f"      match: {{priority: {objective.priority}}}"
        yield f"      slo: {SLO}"
        yield f"      priority: {objective.priority}"
    yield "    - name: default  # whatever no other profile matches"
    yield f"      slo: {SLO}"


def _pool(role: Role, workloads: Sequence[Found]) -> Iterator[str]:
    if not workloads:
        return
    yield f"    {role}:"
    yield "      variants:"
    for found in workloads:
        yield f"        - name: {_name(found.name)}  # {role}: {_plain(found.role_from)}"
        target = f"apiVersion: {found.api_version}, kind: {found.kind}, name: {_text(found.name)}"
        yield f"          scaleTargetRef: {{{target}}}"
        change = "  # CHANGE: no node label tells it" if found.accelerator == survey.UNKNOWN_ACCELERATOR else ""
        yield f"          accelerator: {found.accelerator}{change}"
        yield f"          acceleratorsPerReplica: {found.accelerators}"
        if found.cost is None:
            yield f"          costPerReplicaHour: {float(found.accelerators)}  # CHANGE: 1 per accelerator is assumed"
        else:
            yield f"          costPerReplicaHour: {found.cost}  # as WVA has it"
        yield from _bounds(found)


def _bounds(found: Found) -> Iterator[str]:
    if not found.sized:
        most = max(1, 2 * found.replicas)
        yield f"          minReplicas: {min(1, found.replicas)}"
        yield f"          maxReplicas: {most}  # CHANGE: nobody sized it so far; twice the {found.replicas} that run"
        return
    first = found.sized[0]
    kept = f"as {_plain(first.by)} has it"
    if first.least == 0:
        yield f"          minReplicas: 1  # {_plain(first.by)} has 0; scaling to zero is a matter of scaleToZero"
    else:
        yield f"          minReplicas: {first.least}  # {kept}"
    yield f"          maxReplicas: {max(1, first.most)}  # {kept}"


def _behavior(workloads: Sequence[Found]) -> Iterator[str]:
    known = [(found, sized) for found in workloads for sized in found.sized if sized.behavior is not None]
    if not known:
        return
    # of several the one that waits longest before it removes anything: that errs on the side of the requests
    known.sort(key=lambda one: -_patience(one[1].behavior or {}))
    _, first = known[0]
    yield ""
    yield f"  behavior:  # as {_plain(first.by)} does it; a policy has one for all its variants"
    for way in ("scaleUp", "scaleDown"):
        yield from _rules(way, (first.behavior or {})[way])
    for found, sized in known[1:]:
        if sized.behavior != first.behavior:
            other = json.dumps(sized.behavior, sort_keys=True)
            yield f"  # CHANGE? {_plain(sized.by)} on {_plain(found.name)} does it otherwise: {_plain(other)}"


def _patience(behavior: Mapping[str, Any]) -> int:
    return int(behavior["scaleDown"].get("stabilizationWindowSeconds") or 0)


def _rules(way: str, rules: Mapping[str, Any]) -> Iterator[str]:
    yield f"    {way}:"
    window = min(LONGEST_WINDOW, int(rules.get("stabilizationWindowSeconds") or 0))
    yield f"      stabilizationWindowSeconds: {window}"
    policies = [policy for policy in rules.get("policies") or () if policy.get("periodSeconds") in PERIODS]
    if policies:
        shown = ", ".join(
            f"{{type: {policy['type']}, value: {int(policy['value'])}, periodSeconds: {int(policy['periodSeconds'])}}}"
            for policy in policies
        )
        yield f"      policies: [{shown}]"
    if rules.get("selectPolicy"):
        yield f"      selectPolicy: {rules['selectPolicy']}"
    tolerance = _tolerance(rules.get("tolerance"))
    if tolerance is not None:
        yield f"      tolerance: {tolerance}"


def _tolerance(told: Any) -> float | None:  # noqa: ANN401 - a quantity: 0.05, "0.05" or "50m"
    found = re.fullmatch(r"([0-9.]+)(m?)", str(told)) if told is not None else None
    return float(found[1]) / (1000.0 if found[2] else 1.0) if found else None


def _scheduler(pool: str) -> Iterator[str]:
    yield ""
    if pool:
        yield f"  scheduler: {{inferencePool: {_text(pool)}}}  # pods leave this pool before they are removed"
    else:
        yield "  scheduler: {none: true}  # no InferencePool selects the pods: they come and go by readiness alone"


def _farewell(workloads: Sequence[Found]) -> Iterator[str]:
    """Say who else sizes these workloads: mode Auto needs to be alone."""
    writers = dict.fromkeys(sized.by for found in workloads for sized in found.sized)
    owners = dict.fromkeys(found.owner for found in workloads if found.owner)
    if not writers and not owners:
        return
    yield ""
    yield "# Before mode Auto, when the recommendations please you:"
    for writer in writers:
        if not writer.startswith("LLMInferenceService"):
            kind, _, name = writer.partition(" ")
            yield f"#   kubectl delete {_plain(kind).lower()} {_plain(name)}"
    for owner in owners:
        yield f"#   take replicas and scaling out of {_plain(owner)}, which sets them"


def _name(text: str) -> str:
    """Return a name that Kubernetes takes, made of a text."""
    last = text.rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9]+", "-", last)[:63].strip("-") or "model"


def _text(text: str) -> str:
    """Return a text as YAML reads it back, whatever it holds."""
    return text if re.fullmatch(r"[A-Za-z][-A-Za-z0-9_./]*", text) else json.dumps(text)


def _plain(text: str) -> str:
    """Return a text that stays within its comment."""
    return " ".join(text.split())
