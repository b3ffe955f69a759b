"""Valid policies become domain values; what is only doubtful is told and loaded; several files are seen together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from autoscaler.domain.policy import (
    Behavior,
    Budget,
    Mode,
    ScalingRules,
    SchedulerKind,
    Select,
    Spread,
    StepKind,
    StepLimit,
)
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.errors import PolicyError
from autoscaler.policy import Severity, inspect_files, load_policies, parse_policy
from autoscaler.policy.load import inspect_document
from autoscaler.policy.reading import LARGEST_BYTES, Document

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "policies").glob("*.yaml"))

Change: TypeAlias = Callable[[dict[str, Any]], None]


def mapping(name: str = "rag-and-reasoning") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "policies" / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid_without_a_warning(path: Path) -> None:
    loaded = load_policies([path])
    assert len(loaded.policies) == 1
    assert loaded.warnings == ()


def test_all_examples_get_on_with_each_other() -> None:
    assert len(load_policies(EXAMPLES).policies) == len(EXAMPLES) == 5


def test_a_file_becomes_domain_values() -> None:
    (policy,) = load_policies([ROOT / "policies" / "rag-and-reasoning.yaml"]).policies
    assert (policy.key, policy.model, policy.mode) == ("llm/qwen3-32b", "Qwen/Qwen3-32B", Mode.RECOMMEND)
    assert policy.profiles == (
        RequestProfile("rag", SLO(Seconds(2.0), Seconds(0.05), 0.99), Match(model_name="qwen-rag"), importance=10),
        RequestProfile("reasoning", SLO(Seconds(1.0), Seconds(0.03), 0.99), Match(fairness_id="reasoning-team")),
        RequestProfile("default", SLO(Seconds(3.0), Seconds(0.06), 0.95)),
    )
    assert policy.pool(Role.DECODE) == (
        Variant(
            name="decode-h200",
            role=Role.DECODE,
            target=ScaleTarget("llm", "apps/v1", "Deployment", "qwen-decode-h200"),
            accelerator="H200-SXM",
            accelerators_per_replica=1,
            cost_per_replica_hour=3.1,
            min_replicas=1,
            max_replicas=16,
        ),
    )
    assert policy.budget == Budget((("H200-SXM", 24),), 75)
    assert policy.behavior == Behavior(
        ScalingRules(Seconds(0.0), (StepLimit(StepKind.PERCENT, 100, Seconds(60.0)),)), ScalingRules(Seconds(300.0))
    )


def test_what_is_left_out_has_the_domain_defaults() -> None:
    (policy,) = load_policies([ROOT / "policies" / "chat.yaml"]).policies
    assert policy.behavior == Behavior()
    assert policy.budget == Budget()
    assert policy.spread == Spread(1.0)
    assert policy.scheduler.kind is SchedulerKind.NONE
    assert (policy.scale_down.drain_timeout, policy.scale_to_zero.idle_after) == (Seconds(600.0), Seconds(1800.0))
    assert {variant.min_replicas for variant in policy.variants} == {1}


def test_a_stated_default_of_an_unsupported_field_is_no_wish_and_passes() -> None:
    raw = mapping()
    raw["spec"] |= {
        "scaleDown": {"drainTimeout": "600s", "maxConcurrentDrains": 2},
        "scaleToZero": {"enabled": False, "after": "1h"},
        "scheduler": {"none": True},
        "metrics": {"source": "epp+vllm"},
    }
    assert parse_policy(raw).policies[0].scale_to_zero.idle_after == Seconds(3600.0)


def test_unmatched_requests_get_the_loosest_limits_where_no_default_is_named() -> None:
    raw = mapping()
    raw["spec"]["profiles"] = raw["spec"]["profiles"][:2]
    raw["spec"]["profiles"][1]["slo"]["attainment"] = 0.9
    loaded = parse_policy(raw, "llm/qwen")
    assert loaded.policies[0].profile("default") == RequestProfile("default", SLO(Seconds(2.0), Seconds(0.05), 0.9))
    assert [str(warning) for warning in loaded.warnings] == [
        (
            "llm/qwen: spec.profiles: no profile named default; unmatched requests get the loosest limits"
            " declared (ttft 2s,"
            " itl 50ms, attainment 0.9); add one to choose others"
        )
    ]


def _swapped(spec: dict[str, Any]) -> None:
    spec["profiles"][0]["slo"] |= {"ttft": "50ms", "itl": "2s"}


def _same_priority(spec: dict[str, Any]) -> None:
    spec["profiles"][1]["priority"] = 10


def _unused_limit(spec: dict[str, Any]) -> None:
    spec["budget"]["acceleratorLimits"] |= {"H200": 3, "TPU": 1}


def _spread_over_one(spec: dict[str, Any]) -> None:
    spec["spread"] = {"maxShare": 70}


def _spread_without_room(spec: dict[str, Any]) -> None:
    for role, (most, other) in {"prefill": (12, 5), "decode": (7, 3)}.items():
        first = spec["pools"][role]["variants"][0] | {"maxReplicas": most}
        target = first["scaleTargetRef"] | {"name": f"{role}-other"}
        second = first | {"name": f"{role}-other", "scaleTargetRef": target, "maxReplicas": other}
        spec["pools"][role]["variants"] = [first, second]
    spec["spread"] = {"maxShare": 70}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(_swapped, ["spec.profiles[0].slo.itl: 2s is above ttft 50ms; are the two swapped?"], id="swapped"),
        pytest.param(
            _same_priority,
            [
                (
                    "spec.profiles[1].priority: 10 is the priority of rag too, so neither goes first; give them"
                    " different"
                    " ones"
                )
            ],
            id="one priority for two",
        ),
        pytest.param(
            _unused_limit,
            [
                (
                    "spec.budget.acceleratorLimits.H200: limits an accelerator that no variant uses; did you mean"
                    ' "H200-SXM"?'
                ),
                (
                    "spec.budget.acceleratorLimits.TPU: limits an accelerator that no variant uses; remove it;"
                    " variants use"
                    " H200-SXM"
                ),
            ],
            id="limits of accelerators nobody uses",
        ),
        pytest.param(
            _spread_over_one,
            [
                (
                    "spec.spread.maxShare: prefill is not spread: prefill-h200 is its only variant; add another,"
                    " or leave spread out"
                ),
                (
                    "spec.spread.maxShare: decode is not spread: decode-h200 is its only variant; add another, or"
                    " leave spread out"
                ),
            ],
            id="one variant cannot be spread",
        ),
        pytest.param(
            _spread_without_room,
            [
                (
                    "spec.spread.maxShare: 70 cannot hold at full size: beside prefill-h200 the variants of prefill may"
                    " have 5 of 17 replicas; raise their maxReplicas, or raise maxShare"
                )
            ],
            id="no room beside the largest",
        ),
    ],
)
def test_doubtful_policies_load_with_a_warning(change: Change, expected: list[str]) -> None:
    raw = mapping()
    change(raw["spec"])
    loaded = parse_policy(raw)
    assert len(loaded.policies) == 1
    assert [str(warning) for warning in loaded.warnings] == expected


def test_one_workload_in_two_files_is_told_at_the_later_one(tmp_path: Path) -> None:
    text = (ROOT / "policies" / "chat.yaml").read_text(encoding="utf-8")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(text, encoding="utf-8")
    second.write_text(
        text.replace("{name: chat,", "{name: talk,")
        .replace("Qwen/Qwen3-8B", "Qwen/Qwen3-4B")
        .replace("chat-decode", "x"),
        encoding="utf-8",
    )
    with pytest.raises(PolicyError) as refused:
        load_policies([first, second])
    (line,) = [n for n, row in enumerate(second.read_text(encoding="utf-8").splitlines(), 1) if "chat-prefill" in row]
    assert refused.value.problems == (
        (
            f"{second}:{line}: spec.pools.prefill.variants[0].scaleTargetRef: Deployment chat-prefill is"
            f" scaled by variant"
            " llm/chat/prefill already; name another workload"
        ),
    )


def test_the_same_names_in_other_namespaces_are_other_workloads(tmp_path: Path) -> None:
    text = (ROOT / "policies" / "chat.yaml").read_text(encoding="utf-8")
    both = tmp_path / "both.yaml"
    both.write_text(f"{text}---\n{text.replace('namespace: llm', 'namespace: staging')}", encoding="utf-8")
    loaded = load_policies([both])
    assert [policy.key for policy in loaded.policies] == ["llm/chat", "staging/chat"]
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"#" * (LARGEST_BYTES + 1), "is larger than 1 MiB", id="too large"),
        pytest.param(b"a: b\nc: \xff\xfe\n", ":2: is not UTF-8 text", id="not text"),
        pytest.param(b"--- a\n" * 20_001, "more than 20000 keys and values", id="too many"),
        pytest.param(b"a: \x00\n", "YAML: unacceptable character", id="control character"),
        pytest.param(b'a: 1\nb: "\\U99999999"\n', ":2: YAML: an escape like", id="no character's number"),
        pytest.param(b'a: "\\U00110000"\n', ":1: YAML: an escape like", id="beyond the last character"),
        pytest.param(b'a: 1\n"\\uD800": 1\n', ":2: YAML: an escape spells half a character", id="half a character"),
    ],
)
def test_files_that_are_no_policies_at_all_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError) as refused:
        load_policies([path])
    (problem,) = refused.value.problems
    assert message in problem


def test_files_that_cannot_be_opened_are_all_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        load_policies([tmp_path / "absent.yaml", tmp_path])
    assert refused.value.problems == (
        f"{tmp_path / 'absent.yaml'}: cannot be read (No such file or directory); name a readable policy file",
        f"{tmp_path}: cannot be read (Is a directory); name a readable policy file",
    )


def test_what_an_api_server_adds_is_skipped() -> None:
    raw = mapping()
    raw["metadata"] |= {"uid": "1", "resourceVersion": "7", "generation": 2, "managedFields": [{}]}
    raw["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 5000, "empty": ""}
    raw["status"] = {"anything": True}
    assert parse_policy(raw).policies == parse_policy(mapping()).policies


def test_a_null_counts_as_absent() -> None:
    raw = mapping()
    raw["spec"] |= {"ratio": None, "schedules": None}
    assert parse_policy(raw).policies == parse_policy(mapping()).policies


def test_every_field_of_later_behaviour_is_read_once_its_refusal_is_lifted() -> None:
    raw = mapping()
    raw["spec"] |= {
        "ratio": {"minPrefillPerDecode": 0.2, "maxPrefillPerDecode": 4},
        "spread": {"maxShare": 100},
        "schedules": [{"name": "office", "cron": "0 8 * * 1-5", "duration": "10h", "minReplicas": {"decode-h200": 3}}],
        "scaleDown": {"drainTimeout": "5m", "maxConcurrentDrains": 4},
        "scaleToZero": {"enabled": True, "after": "1h30m"},
        "scheduler": {"inferencePool": "qwen"},
        "metrics": {"source": "sglang", "matchers": {"cluster": "eu-1"}},
        "behavior": {"scaleDown": {"selectPolicy": "Disabled", "tolerance": 0.1}},
    }
    for pool in raw["spec"]["pools"].values():
        pool["variants"] = [variant | {"minReplicas": 0} for variant in pool["variants"]]
    policy, problems = inspect_document(Document(raw, {}), "", unsupported=())
    assert problems == ()
    assert policy is not None
    assert (policy.ratio.min_prefill_per_decode, policy.ratio.max_prefill_per_decode) == (0.2, 4)
    assert policy.schedules[0].min_replicas == (("decode-h200", 3),)
    assert (policy.scale_down.drain_timeout, policy.scale_to_zero.idle_after) == (Seconds(300.0), Seconds(5400.0))
    assert (policy.scheduler.kind, policy.scheduler.selects) == (SchedulerKind.INFERENCE_POOL, "qwen")
    assert policy.metrics.matchers == (("cluster", "eu-1"),)
    assert policy.behavior.scale_down.select is Select.DISABLED


def test_findings_name_severity_and_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("kind: SLOPolicy\nspec: {}\n", encoding="utf-8")
    problems = inspect_files([path]).problems
    assert {problem.severity for problem in problems} == {Severity.ERROR}
    assert {problem.field for problem in problems} >= {"apiVersion", "metadata", "spec.model", "spec.profiles"}
