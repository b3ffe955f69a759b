"""From files and custom resources to policies: everything that is wrong is told at once, with file, line and path."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from autoscaler.domain.policy import SLOPolicy
from autoscaler.errors import PolicyError
from autoscaler.policy import checks, messages
from autoscaler.policy.conflicts import Origin, conflicts
from autoscaler.policy.convert import to_domain
from autoscaler.policy.problems import Path, Problem, error, errors, shown, warnings
from autoscaler.policy.reading import Document, read_file
from autoscaler.policy.schema import KIND, SLOPolicyDocument
from autoscaler.policy.understood import understand, without
from autoscaler.policy.unsupported import UNSUPPORTED, Unsupported, refusals

OF_THE_SERVER = frozenset(
    {
        ("status",),
        *(
            ("metadata", name)
            for name in (
                "creationTimestamp",
                "deletionGracePeriodSeconds",
                "deletionTimestamp",
                "finalizers",
                "generateName",
                "generation",
                "managedFields",
                "ownerReferences",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    }
)
"""What an API server adds to an object (``kubectl get -o yaml``): no wish of the operator, so not in the schema."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Policies that can be used, and what is doubtful about them."""

    policies: tuple[SLOPolicy, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspected:
    """What several files hold: the policies that can be used, and every finding, in the order of the files."""

    policies: tuple[SLOPolicy, ...]
    problems: tuple[Problem, ...]


def load_policies(paths: Iterable[FilePath]) -> Loaded:
    """Return the policies of all files, in their order.

    Raises:
        PolicyError: with every error in every file, each ``file:line: path: what is wrong; way out``.
    """
    inspected = inspect_files(paths)
    _refuse(inspected.problems)
    return Loaded(inspected.policies, warnings(inspected.problems))


def inspect_files(paths: Iterable[FilePath]) -> Inspected:
    """Look at all files and tell all there is to tell; nothing is raised."""
    found: list[tuple[SLOPolicy, Origin]] = []
    problems: list[Problem] = []
    for path in paths:
        text = read_file(path)
        problems += text.problems
        for document in text.documents:
            policy, findings = inspect_document(document, str(path))
            problems += findings
            if policy is not None:
                found.append((policy, Origin(str(path), document.lines)))
    problems += conflicts(found)
    return Inspected(tuple(policy for policy, _ in found), tuple(dict.fromkeys(problems)))


def parse_policy(mapping: Mapping[str, Any], source: str = "") -> Loaded:
    """Return the policy that a custom resource holds, alone in ``policies``.

    Whether several policies get on with each other is for ``conflicts`` to tell.

    Raises:
        PolicyError: with every error in it, each ``source: path: what is wrong; way out``.
    """
    try:
        policy, problems = inspect_document(Document(_without_nulls(mapping), {}), source)
    except UnicodeEncodeError as refusal:  # JSON can spell half a character, which nothing can print
        raise PolicyError(["holds half a character (a lone surrogate); remove it"], source) from refusal
    _refuse(problems)
    return Loaded(() if policy is None else (policy,), warnings(problems))


def inspect_document(
    document: Document, file: str, unsupported: tuple[Unsupported, ...] = UNSUPPORTED
) -> tuple[SLOPolicy | None, tuple[Problem, ...]]:
    """Return a document's policy, unless it has errors, and everything that was found."""
    found = (problem.located(file, document.lines) for problem in _problems(document.value, unsupported))
    problems = tuple(sorted(found, key=lambda problem: problem.line or 0))
    if errors(problems):
        return None, problems
    clean = without(document.value, OF_THE_SERVER)
    return to_domain(SLOPolicyDocument.model_validate(clean)), problems


def _problems(raw: Any, unsupported: tuple[Unsupported, ...]) -> Iterable[Problem]:  # noqa: ANN401 - any document
    if not isinstance(raw, dict):
        return [error((), f"expected a mapping with apiVersion, kind, metadata and spec, got {shown(raw)}")]
    if raw.get("kind", KIND) != KIND:
        return [error(("kind",), f"{shown(raw['kind'])} is not a policy; write {KIND} or remove this document")]
    clean = without(raw, OF_THE_SERVER)
    malformed, meaningless = _malformed(clean)
    understood = understand(without(clean, meaningless))
    return chain(malformed, refusals(clean, unsupported), checks.problems(understood))


def _malformed(raw: dict[str, Any]) -> tuple[Sequence[Problem], frozenset[Path]]:
    """Return what the schema refuses, and the paths of fields that mean nothing."""
    try:
        SLOPolicyDocument.model_validate(raw)
    except ValidationError as refusal:
        return list(messages.problems_of(refusal)), messages.meaningless(refusal)
    return [], frozenset()


def _refuse(problems: Sequence[Problem]) -> None:
    wrong = errors(tuple(problems))
    if wrong:
        raise PolicyError([str(problem) for problem in wrong])


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - any document
    """Return a copy in which a null value of a key is absent, as the reader of files does."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value
