"""Credentials do not get into the log, whoever quotes them."""

import json
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import telemetry

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"  # noqa: S105 - opens nothing


def logged(capsys: pytest.CaptureFixture[str], level: str = "info", *, as_json: bool = True, **fields: object) -> str:
    telemetry.configure(level, as_json=as_json)
    try:
        structlog.get_logger("autoscaler").info("event", **fields)
    finally:
        structlog.reset_defaults()
    return capsys.readouterr().err


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "console"])
@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        ({"detail": f"401: Authorization: Bearer {TOKEN}"}, TOKEN),
        ({"detail": f"request with {TOKEN} refused"}, TOKEN),
        ({"detail": "no answer from http://admin:hunter22@prometheus:9090/api"}, "hunter22"),
        ({"detail": "header Basic YWRtaW46aHVudGVyMjI="}, "YWRtaW46aHVudGVyMjI="),
        ({"prometheus_token": "opaque-value"}, "opaque-value"),
        ({"Authorization": "anything"}, "anything"),
        ({"login": {"password": "hunter22"}}, "hunter22"),
        ({"gaps": [{"detail": f"Bearer {TOKEN}"}]}, TOKEN),
    ],
    ids=["bearer", "web token", "URL", "basic", "named field", "header", "nested name", "nested text"],
)
def test_a_credential_is_redacted(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], secret: str, *, as_json: bool
) -> None:
    shown = logged(capsys, as_json=as_json, **fields)
    assert secret not in shown
    assert "[redacted]" in shown


def test_what_is_no_credential_stays(capsys: pytest.CaptureFixture[str]) -> None:
    fields: dict[str, Any] = {
        "policy": "llm/qwen3-32b",
        "detail": "http://prometheus:9090: no answer (ReadTimeout); bearer of bad news",
        "output_tokens_per_second": 12.5,
        "wanted": {"llm/m": {"decode": "3 ITL_AT_RISK"}},
        "actions": ["Scale llm/m/decode"],
    }
    shown = json.loads(logged(capsys, **fields))
    assert {key: shown[key] for key in fields} == fields


def test_a_person_reads_lines_and_no_more_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    line = logged(capsys, as_json=False, policy="llm/qwen3-32b", wanted=3)
    assert [*line.split()][-2:] == ["policy=llm/qwen3-32b", "wanted=3"]
    assert "event" in line
    assert "\x1b" not in line, "colours are for terminals"
    assert not logged(capsys, "warning", as_json=False, policy="llm/qwen3-32b")


@given(
    value=st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_redaction_takes_any_event_and_is_done_once(value: object) -> None:
    once = telemetry.redacted(None, "info", {"field": value})
    assert telemetry.redacted(None, "info", once) == once
