"""``autoscaler undrain``: give back every pod that a controller has withdrawn. Needs nothing but the API server."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from autoscaler.cli import wiring
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.domain.membership import NOTES
from autoscaler.domain.record import Result
from autoscaler.errors import InputError
from autoscaler.kube import PODS, KubeError, KubeSession, Login, Place
from autoscaler.publish.kube import KubeMembership

EPILOG = "Example: autoscaler undrain --policy policy.yaml"
PAGE = 500
WELL = frozenset({Result.DONE, Result.UNCHANGED, Result.DRY_RUN})


def undrain(
    *,
    policy: Annotated[
        list[Path] | None, typer.Option("--policy", "-p", help="Policies whose namespaces to look at.")
    ] = None,
    namespace: Annotated[list[str] | None, typer.Option("--namespace", "-n", help="Namespaces to look at.")] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Default: KUBECONFIG, else the pod's service account.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which pods.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Readmit every pod that this controller has withdrawn; values that operators had set come back.

    For when the controller is gone for good. One that runs would withdraw again what its plan wants gone: stop it
    first, or write mode: Recommend.
    """
    named = {chosen.namespace for chosen in wiring.policies(policy or [])} | set(namespace or ())
    if not named:
        msg = "undrain: neither --policy nor --namespace is given; name where to look"
        raise InputError(msg)
    login = Login(kubeconfig=None if kubeconfig is None else str(kubeconfig))
    rows = asyncio.run(_undrained(login, sorted(named), dry_run=dry_run))
    data: list[Jsonable] = [
        {"namespace": place.namespace, "pod": place.name, "result": result.value, "detail": detail}
        for place, result, detail in rows
    ]
    told = table(("NAMESPACE", "POD", "RESULT", "DETAIL"), ((p.namespace, p.name, r.value, d) for p, r, d in rows))
    show(data, [told if rows else f"no pod is withdrawn by us in {', '.join(sorted(named))}"], output)
    if any(result not in WELL for _, result, _ in rows):
        raise typer.Exit(1)


async def _undrained(login: Login, namespaces: Sequence[str], *, dry_run: bool) -> list[tuple[Place, Result, str]]:
    jitter = random.Random()  # noqa: S311 - spreads load, guards no secret
    async with await KubeSession.open(jitter=jitter.random, login=login) as session:
        membership = KubeMembership(session)
        places = [place for namespace in namespaces for place in await _withdrawn(session, namespace)]
        if dry_run:
            return [(place, Result.DRY_RUN, "") for place in places]
        return [(place, *await _readmitted(membership, place)) for place in places]


async def _withdrawn(session: KubeSession, namespace: str) -> list[Place]:
    """Return the pods that carry any note of ours."""
    found: list[Place] = []
    resume = ""
    while True:
        page = await session.page(PODS.at(namespace), limit=PAGE, resume=resume)
        noted = (pod for pod in page["items"] if set(NOTES) & (pod["metadata"].get("annotations") or {}).keys())
        found += [PODS.at(namespace, pod["metadata"]["name"]) for pod in noted]
        resume = page["metadata"].get("continue", "")
        if not resume:
            return found


async def _readmitted(membership: KubeMembership, place: Place) -> tuple[Result, str]:
    try:
        return await membership.readmit(place)
    except KubeError as error:
        return Result.FAILED, str(error)
