"""Whose traffic a series of the endpoint picker counts: which policy's, and which of its profiles."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.profile import DEFAULT_PROFILE, Match
from autoscaler.errors import InputError
from autoscaler.observe.catalogue import MODEL, NAMESPACE
from autoscaler.observe.samples import Key, Keys, Row, Snapshot, grouped

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
        names = [(self.policy.namespace, name) for name in sorted(self._names)]
        by_model, by_target = (snapshot.by(reading, NAMESPACE, label) for label in (MODEL, TARGET_MODEL))
        found = [row for name in names for row in by_model.get(name, ())]
        targeted = (row for name in names for row in by_target.get(name, ()))
        found += [row for row in targeted if row.labels.get(MODEL, "") not in self._names]
        return list(filter(self.is_selected, found)) if self.policy.metrics.matchers else found

    def is_selected(self, row: Row) -> bool:
        """Tell whether a row carries the labels that the policy asks for."""
        return all(row.labels.get(label, "") == value for label, value in self.policy.metrics.matchers)

    def attribute(self, row: Row) -> Attribution:
        """Return the profile whose match fits a row, else the default."""
        return self._told(row.key(_TELLING))

    def split(self, rows: Sequence[Row], keys: Keys) -> dict[str, list[Row]]:
        """Return the policy's rows by profile; profiles without rows are there, empty. ``keys``: of a snapshot."""
        found: dict[str, list[Row]] = {profile.name: [] for profile in self.policy.profiles}
        for told_by, alike in grouped(rows, _TELLING, keys.setdefault(_TELLING, {})).items():
            found[self._told(told_by).profile] += alike
        return found

    def _told(self, told_by: Key) -> Attribution:
        known = self._attributed.get(told_by)
        if known is None:
            if len(self._attributed) >= MOST_REMEMBERED:  # fairness ids are whatever clients send
                self._attributed.clear()
            known = self._attributed[told_by] = self._attributed_anew(told_by)
        return known

    def _attributed_anew(self, told_by: Key) -> Attribution:
        for profile in self._matching:
            if _fits(profile.match, told_by):
                return Attribution(profile.name, matched=True)
        return Attribution(self.default, matched=False)


def _default(policy: SLOPolicy) -> str:
    empty = [profile.name for profile in policy.profiles if profile.match.is_empty]
    if not empty:
        msg = f"policy {policy.key}: no profile takes traffic that nothing matches; add a profile {DEFAULT_PROFILE!r}"
        raise InputError(msg)
    return DEFAULT_PROFILE if DEFAULT_PROFILE in empty else empty[0]


def _rank(match: Match) -> tuple[bool, bool, bool]:
    return match.model_name is None, match.fairness_id is None, match.priority is None


def _fits(match: Match, told_by: Key) -> bool:
    """Tell whether every label that a match names has its value."""
    priority = None if match.priority is None else str(match.priority)
    wanted = (match.model_name, match.fairness_id, priority)
    return all(value is None or value == told for value, told in zip(wanted, told_by, strict=True))
