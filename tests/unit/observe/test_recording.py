"""The committed recording can be made again, and says what its request log says."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.observe.recording import load_recording
from examples.h200_pd import derive_picker
from tests import observing


def read(name: str) -> list[dict[str, Any]]:
    return list(derive_picker.read(observing.RECORDING / name))


def test_the_derived_picker_follows_from_the_request_log() -> None:
    requests = [entry for entry in read("requests.jsonl.gz") if entry["profile"] != "warmup"]
    grid = sorted({entry["t"] for entry in read("engines.jsonl.gz")})
    assert list(derive_picker.derived(requests, grid)) == read("picker.jsonl.gz")


def test_the_last_page_of_the_picker_holds_every_request() -> None:
    requests = [entry for entry in read("requests.jsonl.gz") if entry["profile"] == "rag"]
    text = read("picker.jsonl.gz")[-1]["text"]
    labels = 'fairness_id="rag",model_name="m",priority="0",target_model_name="m"'
    assert f"llm_d_epp_request_total{{{labels}}} {len(requests)}\n" in text
    assert f"llm_d_epp_request_input_tokens_sum{{{labels}}} {float(sum(r['isl'] for r in requests))!r}\n" in text
    assert f"llm_d_epp_request_running{{{labels}}} 0\n" in text


def test_scrapes_are_found_by_time() -> None:
    recording = load_recording(observing.RECORDING)
    assert (recording.start, recording.end) == (1795371957.1280344, 1795372318.2081654)
    moment = Instant(recording.start + 10.0)
    newest = recording.at(moment)
    assert sorted(newest) == ["llm/d0", "llm/epp-0", "llm/p0"]
    assert all(moment - 1.1 < scrape.at <= moment for scrape in newest.values())
    assert len(recording.between(moment, Instant(moment + 10.0))) == 30


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no gzip", id="no gzip"),
        pytest.param(gzip.compress(b"{}\n"), id="no fields"),
        pytest.param(gzip.compress(b"[1]\n"), id="no object"),
        pytest.param(gzip.compress(json.dumps({"t": "x", "name": "p", "text": ""}).encode()), id="no time"),
        pytest.param(gzip.compress(b'{"t": 1, "name"')[:-4], id="cut off"),
        pytest.param(gzip.compress(b""), id="empty"),
    ],
)
def test_a_damaged_recording_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "engines.jsonl.gz").write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_recording(tmp_path)
