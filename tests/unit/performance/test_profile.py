"""Profile files: what ships loads, what cannot be is refused with field, value and way out."""

from pathlib import Path

import pytest
import yaml

from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from autoscaler.performance.profile import builtin_names, load_profile, parse_profile
from autoscaler.performance.profile_document import dump_profile

NAME = "h200-tp1-qwen3-32b"


def text_with(**changes: object) -> str:
    """Return the shipped profile as text, entries given as section__field changed, None removed."""
    body = yaml.safe_load(dump_profile(load_profile(NAME)))
    for path, value in changes.items():
        *sections, field = path.split("__")
        place = body
        for section in sections:
            place = place[section]
        if value is None:
            del place[field]
        else:
            place[field] = value
    return yaml.safe_dump(body)


@pytest.mark.parametrize("name", builtin_names())
def test_what_ships_survives_being_written_and_read(name: str) -> None:
    shipped = load_profile(name)
    assert shipped.name == name
    assert parse_profile(dump_profile(shipped), name) == shipped


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_profile(load_profile(NAME)), encoding="utf-8")
    assert load_profile(path) == load_profile(NAME)


@pytest.mark.parametrize("name", ["1" * 400, "a\0b", "nonesuch"])
def test_a_name_that_no_file_can_have_is_refused_as_any_other(name: str) -> None:
    with pytest.raises(InputError, match="performance profile"):
        load_profile(name)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"step__base_ms": 20_000}, "step.base_ms: 20000", id="a step of 20 s"),
        pytest.param({"step__base_ms": float("nan")}, "step.base_ms: '.nan'", id="not a number"),
        pytest.param({"step__per_kv_token_ns": -1}, "step.per_kv_token_ns: -1", id="negative"),
        pytest.param({"prefill__per_token_us": "fast"}, "prefill.per_token_us: 'fast'", id="a word"),
        pytest.param({"step__base_s": 0.02}, "step.base_s", id="unknown field"),
        pytest.param({"limits": None}, "limits", id="section absent"),
        pytest.param({"step": None}, "role decode needs the section step", id="role without its model"),
        pytest.param({"roles": ["router"]}, "roles.0: 'router'", id="unknown role"),
        pytest.param({"valid__batch": [64, 1]}, "a range rises", id="falling range"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_profile(text_with(**changes), "mine.yaml")
    assert told in str(refusal.value)
    assert "mine.yaml" in str(refusal.value)


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b", "", "just words"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml"):
        parse_profile(text, "mine.yaml")


def test_an_unknown_name_is_told_what_ships() -> None:
    with pytest.raises(InputError, match=NAME):
        load_profile("h100-tp1-qwen3-32b")


def test_a_profile_for_another_role_is_refused() -> None:
    decode_only = parse_profile(text_with(roles=["decode"], prefill=None), "decode.yaml")
    assert decode_only.for_role(Role.DECODE) is decode_only.model
    with pytest.raises(InputError, match="is for decode, not for prefill"):
        decode_only.for_role(Role.PREFILL)


def test_a_decode_only_profile_never_finishes_a_prompt() -> None:
    decode_only = parse_profile(text_with(roles=["decode"], prefill=None), "decode.yaml")
    assert float(decode_only.model.prefill.latency_s(1.0)) == float("inf")
