"""The API server's audit log: who did what, as it says itself."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request to the API server, denied ones included (``code`` 403)."""

    user: str
    verb: str
    resource: str  # "deployments", with its subresource "deployments/scale"
    namespace: str
    name: str
    code: int
    user_agent: str
    uri: str
    received: str  # RFC 3339 with microseconds

    @property
    def is_write(self) -> bool:
        """Tell whether the request meant to change something; a dry run counts as one too."""
        return self.verb in WRITES


def read(log: Path, *, user: str | None = None) -> tuple[AuditEvent, ...]:
    """Return the events of a log in order of their completion, of one user or of all."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return tuple(event for event in _events(lines) if user in {None, event.user})


def _events(lines: Iterable[str]) -> Iterator[AuditEvent]:
    for line in lines:
        if not line.endswith("}"):
            continue  # the last line may be in the middle of being written
        yield _event(json.loads(line))


def _event(fields: dict[str, Any]) -> AuditEvent:
    target = fields.get("objectRef", {})
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return AuditEvent(
        user=fields["user"]["username"],
        verb=fields["verb"],
        resource="/".join(filter(None, parts)),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=fields.get("responseStatus", {}).get("code", 0),
        user_agent=fields.get("userAgent", ""),
        uri=fields["requestURI"],
        received=fields["requestReceivedTimestamp"],
    )
