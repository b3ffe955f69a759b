"""SLO policies: from YAML or a custom resource to domain values, or to everything that is wrong with it, at once."""

from autoscaler.policy.conflicts import Origin, conflicts
from autoscaler.policy.fields import json_schema
from autoscaler.policy.load import Inspected, Loaded, inspect_files, load_policies, parse_policy
from autoscaler.policy.problems import Problem, Severity

__all__ = [
    "Inspected",
    "Loaded",
    "Origin",
    "Problem",
    "Severity",
    "conflicts",
    "inspect_files",
    "json_schema",
    "load_policies",
    "parse_policy",
]
