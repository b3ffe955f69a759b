"""Whose traffic a series of the endpoint picker counts: which policy's, and which of its profiles."""

from collections.abc import Iterable
from dataclasses import dataclass

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.profile import DEFAULT_PROFILE, Match
from autoscaler.errors import InputError
from autoscaler.observe.catalogue import MODEL, NAMESPACE
from autoscaler.observe.samples import Key, Row, Snapshot

TARGET_MODEL = "target_model_name"
FAIRNESS, PRIORITY = "fairness_id", "priority"

_TELLING = (MODEL, FAIRNESS, PRIORITY)
"""The labels by which profiles are told."""

MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Attribution:
    """The profile that a row counts for; ``matched`` is false where it is the default for want of a match."""

    profile: str
    matched: bool


class ProfileTable:
    """Attributes rows to the profiles of one policy: by model alias, else fairness id, else priority, else default."""

    def __init__(self, policy: SLOPolicy) -> None:
        """Read the matches of a policy.

        Raises:
            InputError: no profile takes what nothing matches.
        """
        self.policy = policy
        self._attributed: dict[Key, Attribution] = {}
        self.default = _default(policy)
        aliases = (profile.match.model_name for profile in policy.profiles)
        self._names = {policy.model, *(alias for alias in aliases if alias is not None)}
        # what is told by more labels, and by the stronger ones, is tried first
        self._matching = sorted(
            (profile for profile in policy.profiles if not profile.match.is_empty), key=lambda p: _rank(p.match)
        )

    def owns(self, row: Row) -> bool:
        """Tell whether a row is of this policy: its namespace, its model under any name, its matchers."""
        labels = row.labels
        if labels.get(NAMESPACE, "") != self.policy.namespace or not self.is_selected(row):
            return False
        return labels.get(MODEL, "") in self._names or labels.get(TARGET_MODEL, "") in self._names

    def owned(self, snapshot: Snapshot, reading: str) -> list[Row]:
        """Return the rows of a reading that are of this policy."""
        found: dict[int, Row] = {}
        for label in (MODEL, TARGET_MODEL):
            groups = snapshot.by(reading, NAMESPACE, label)
            for name in sorted(self._names):
                found |= {id(row): row for row in groups.get((self.policy.namespace, name), ())}
        return [row for row in found.values() if self.is_selected(row)]

    def is_selected(self, row: Row) -> bool:
        """Tell whether a row carries the labels that the policy asks for."""
        return all(row.labels.get(label, "") == value for label, value in self.policy.metrics.matchers)

    def attribute(self, row: Row) -> Attribution:
        """Return the profile whose match fits a row, else the default."""
        told_by = row.key(_TELLING)
        known = self._attributed.get(told_by)
        if known is None:
            if len(self._attributed) >= MOST_REMEMBERED:  # fairness ids are whatever clients send
                self._attributed.clear()
            known = self._attributed[told_by] = self._attribute(row)
        return known

    def _attribute(self, row: Row) -> Attribution:
        for profile in self._matching:
            if _fits(profile.match, row):
                return Attribution(profile.name, matched=True)
        return Attribution(self.default, matched=False)

    def split(self, rows: Iterable[Row]) -> dict[str, list[Row]]:
        """Return the policy's rows by profile; profiles without rows are there, empty."""
        found: dict[str, list[Row]] = {profile.name: [] for profile in self.policy.profiles}
        for row in rows:
            found[self.attribute(row).profile].append(row)
        return found


def _default(policy: SLOPolicy) -> str:
    empty = [profile.name for profile in policy.profiles if profile.match.is_empty]
    if not empty:
        msg = f"policy {policy.key}: no profile takes traffic that nothing matches; add a profile {DEFAULT_PROFILE!r}"
        raise InputError(msg)
    return DEFAULT_PROFILE if DEFAULT_PROFILE in empty else empty[0]


def _rank(match: Match) -> tuple[bool, bool, bool]:
    return match.model_name is None, match.fairness_id is None, match.priority is None


def _fits(match: Match, row: Row) -> bool:
    """Tell whether every label that a match names has its value."""
    priority = None if match.priority is None else str(match.priority)
    wanted = ((MODEL, match.model_name), (FAIRNESS, match.fairness_id), (PRIORITY, priority))
    return all(value is None or row.labels.get(label, "") == value for label, value in wanted)
