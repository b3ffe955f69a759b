"""The endpoints file of a picker that discovers by file: who serves, replaced as a whole, never half written.

A pod that is withdrawn has no entry; what is not known now keeps the entries it has.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.plan import Readmit, Withdraw
from autoscaler.domain.policy import Mode, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.record import Result, TickRecord

ROLE = "llm-d.ai/role"
VARIANT = "llm-d.ai/variant"

Entry: TypeAlias = Mapping[str, object]


class EndpointsFiles:
    """A ``Publisher`` that writes the endpoints of each policy in mode Auto that names a file, whenever they change."""

    def __init__(self, port: int) -> None:
        """Take the port at which engines answer."""
        self._port = port
        self._policies: tuple[SLOPolicy, ...] = ()

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Write for these policies from now on."""
        by_file = (policy for policy in policies if policy.scheduler.kind is SchedulerKind.ENDPOINTS_FILE)
        self._policies = tuple(policy for policy in by_file if policy.mode is Mode.AUTO)

    async def publish(self, record: TickRecord) -> None:
        """Write who serves after this tick.

        Raises:
            OSError: a file cannot be written; the old one stays whole.
        """
        for policy in self._policies:
            observed = record.observation.models.get(policy.key)
            if observed is not None:
                self._write(policy, observed, record)

    def _write(self, policy: SLOPolicy, observed: ModelObservation, record: TickRecord) -> None:
        path = Path(policy.scheduler.selects)
        changed = {
            result.action.pod: isinstance(result.action, Withdraw)
            for result in record.outcome.results
            if isinstance(result.action, Withdraw | Readmit)
            and result.action.variant.policy == policy.key
            and result.result in {Result.DONE, Result.UNCHANGED}
        }
        wanted = entries(policy, observed, changed, self._port, _kept(path))
        text = yaml.safe_dump({"endpoints": list(wanted)}, sort_keys=False)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            _replace(path, text)


def entries(
    policy: SLOPolicy,
    observed: ModelObservation,
    changed: Mapping[str, bool],
    port: int,
    before: Sequence[Entry],
) -> tuple[Entry, ...]:
    """Return the entries of all pods that serve, in order of their names.

    Args:
        policy: whose variants.
        observed: the fleet.
        changed: pods whose membership was written in this tick: withdrawn or not.
        port: of the engines.
        before: entries that the file has, kept for variants of which nothing is known.
    """
    found: list[Entry] = []
    for variant in policy.variants:
        workload = observed.fleet.get(variant.name)
        if isinstance(workload, Workload):
            found += [_entry(policy, variant, pod, port) for pod in workload.pods if _serves(pod, changed)]
        else:
            found += [entry for entry in before if _variant(entry) == variant.name]
    return tuple(sorted(found, key=lambda entry: str(entry["name"])))


def _variant(entry: Entry) -> str:
    labels = entry.get("labels")
    return str(labels.get(VARIANT, "")) if isinstance(labels, Mapping) else ""


def _serves(pod: Pod, changed: Mapping[str, bool]) -> bool:
    withdrawn = changed.get(pod.name, pod.state is PodState.DRAINING)
    serves = pod.state is PodState.READY or (pod.state is PodState.DRAINING and pod.ready_since is not None)
    return serves and not withdrawn and bool(pod.ip)


def _entry(policy: SLOPolicy, variant: Variant, pod: Pod, port: int) -> Entry:
    labels = {ROLE: variant.role.value, VARIANT: variant.name}
    return {"name": pod.name, "namespace": policy.namespace, "address": pod.ip, "port": str(port), "labels": labels}


def _kept(path: Path) -> Sequence[Entry]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return ()
    listed = document.get("endpoints") if isinstance(document, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else ()


def _replace(path: Path, text: str) -> None:
    """Put a whole new file in the place of the old one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
