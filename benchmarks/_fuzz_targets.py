"""The parsers, each with real samples and with what it may say of what it cannot read; anything else is a finding."""

import asyncio
import gzip
import io
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import requests
import yaml
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse
from yaml._yaml import CParser

from autoscaler.cli import explain
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.observe import answers, catalogue
from autoscaler.observe.answers import Labels
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.files import FileFleet
from autoscaler.observe.observer import Join
from autoscaler.observe.picker import members
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.observe.recording import load_recording
from autoscaler.observe.samples import Row, Snapshot
from autoscaler.observe.scrape import Heads, Limits, Target, parsed
from autoscaler.performance.profile import parse_profile
from autoscaler.policy import load_policies, parse_policy, reading
from autoscaler.publish import chain
from autoscaler.publish.file import DecisionLog
from autoscaler.simulate.scenario import read_scenario
from autoscaler.simulate.trace_files import read_trace
from benchmarks import loop_speed
from benchmarks._fuzz_mutate import LONGEST

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "examples" / "h200_pd"
POLICY = SHIPPED / "policy.yaml"
POLICIES = load_policies([POLICY]).policies
WINDOWS = Windows()
ENGINE = Target({"namespace": "llm", "pod": "p0"})
NOW = Instant(1795372000.0)
QUERY = {"time": f"{NOW:.3f}"}


@dataclass(frozen=True)
class Parser:
    """A parser. ``parse`` raises what it says of bad input (an error of ``autoscaler.errors``), and nothing else."""

    name: str
    parses: str
    samples: tuple[bytes, ...]
    parse: Callable[[bytes], object]


class Scratch:
    """One file in memory, for parsers that read files."""

    def __init__(self) -> None:
        """Make a folder that goes with this process."""
        memory = Path("/dev/shm")  # noqa: S108 - a folder of its own below it
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)

    def holding(self, name: str, content: bytes) -> Path:
        """Return the path of a file of this name with this content."""
        path = Path(self._folder.name) / name
        path.write_bytes(content)
        return path


@cache
def parsers() -> dict[str, Parser]:
    """Return all parsers by name."""
    scratch = Scratch()
    found = (
        Parser(
            "yaml",
            "YAML text, which all YAML files are first",
            (*_files("tests/golden/policy/*.yaml", 400), *YAML),
            _yaml,
        ),
        Parser(
            "policy",
            "policy files (YAML)",
            _said_twice((*_files("policies/*.yaml"), *_files("tests/golden/policy/*.yaml"))),
            _quickly(_policy_files(scratch)),
        ),
        Parser("policy-resource", "SLOPolicy objects of an API server (JSON)", _resources(), _policy_resource),
        Parser("exposition", "metrics pages of engines", _pages(), _exposition),
        Parser("picker", "metrics pages of endpoint pickers", _files("tests/data/observe/epp*.txt"), _picker),
        Parser("prometheus", "answers of a Prometheus (JSON)", _answers(), _prometheus()),
        Parser("series", "series of a Prometheus, up to the observation made of them", _answers(), _series()),
        Parser("trace-csv", "traces (CSV)", _traces_csv(), _trace(scratch, "t.csv")),
        Parser("trace-jsonl", "traces (JSON lines)", _traces_jsonl(), _trace(scratch, "t.jsonl")),
        Parser("trace-gzip", "traces (compressed)", _gzipped(_traces_csv()), _trace(scratch, "t.csv.gz")),
        Parser("decision-log", "decision logs: explain and verify", _log_lines(), _decision_log(scratch)),
        Parser("scenario", "scenario files (YAML)", _said_twice(_scenarios()), _quickly(_scenario(scratch))),
        Parser(
            "profile",
            "performance profiles (YAML)",
            _said_twice(_files("autoscaler/performance/profiles/*.yaml")),
            _quickly(_profile),
        ),
        Parser(
            "fleet", "fleet files (YAML)", _said_twice(_files("examples/h200_pd/fleet.yaml")), _quickly(_fleet(scratch))
        ),
    )
    return {parser.name: parser for parser in found}


def _files(pattern: str, longest: int = LONGEST) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(ROOT.glob(pattern)) if path.stat().st_size <= longest)


YAML = (
    (
        b"# comment\n%YAML 1.1\n---\na: {b: [1, -2.5e3, true, null], 'c d': \"e\\n\\u00e9\"}\n"
        b"f: |-\n  g\n   h\ni: >\n  j\n  k\n...\n"
    ),
    b"- &a 1\n- *a\n- !!str 2\n- ? k\n  : v\n- - x\n  - y: z\n    w: ~\n---\nsecond: [[], {}]\n",
)
"""What of YAML no policy has, in few bytes."""


def _yaml(data: bytes) -> object:
    text = reading.read_text(data, "f")
    if text.problems:
        raise InputError("\n".join(map(str, text.problems)))
    return text.documents


def _said_twice(samples: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return samples, and what they say as a line of JSON, which is YAML too: there damage can keep to the meaning."""
    said = [document.value for sample in samples for document in reading.read_text(sample, "f").documents]
    return (*samples, *(json.dumps(value).encode() for value in said))


class _Quick(reading._Loader):  # noqa: SLF001 - what stays is the product's: its limits, its types
    """The product's loader with libyaml's parser under it: seven times as fast; Python's own is the parser ``yaml``."""

    def __init__(self, text: str, most_values: int) -> None:
        super().__init__("", most_values)
        events = CParser(text)
        for name in ("check_event", "peek_event", "get_event"):
            setattr(self, name, getattr(events, name))


def _quickly(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def parse_quickly(data: bytes) -> object:
        own = vars(reading)["_Loader"]
        vars(reading)["_Loader"] = _Quick
        try:
            return parse(data)
        finally:
            vars(reading)["_Loader"] = own

    return parse_quickly


def _pages() -> tuple[bytes, ...]:
    """Return pages of engines, whole and cut into their families."""
    whole = _files("tests/data/observe/*.txt")
    return (
        *whole,
        *dict.fromkeys(piece for page in whole for piece in re.split(rb"(?m)(?=^# HELP)", page) if piece),
    )


def _policy_files(scratch: Scratch) -> Callable[[bytes], object]:
    return lambda data: load_policies([scratch.holding("policy.yaml", data)])


def _resources() -> tuple[bytes, ...]:
    documents = [
        yaml.safe_load(text)
        for text in (POLICY.read_bytes(), (ROOT / "policies" / "rag-and-reasoning.yaml").read_bytes())
    ]
    return tuple(json.dumps(document).encode() for document in documents)


def _policy_resource(data: bytes) -> object:
    document = _json(data)
    return parse_policy(document) if isinstance(document, dict) else None


def _json(data: bytes) -> Any:  # noqa: ANN401 - any document
    """Return what a client's JSON library would hand on; None where it would refuse."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _exposition(data: bytes) -> object:
    heads: Heads = {}
    text = data.decode(errors="replace")
    return [parsed(ENGINE, text, Limits(), heads) for _ in range(2)]  # the second time from what the first remembered


def _picker(data: bytes) -> object:
    return members(data.decode(errors="replace"))


class _Canned(BaseAdapter):
    """A server that says what it is told to say."""

    body = b""

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, str(request.url), request
        answer.raw = HTTPResponse(io.BytesIO(self.body), preload_content=False)
        return answer

    def close(self) -> None:
        """Hold nothing."""


def _source() -> tuple[PrometheusSource, _Canned]:
    source, server = PrometheusSource(Connection("http://canned:9090", retries=0), (), WINDOWS), _Canned()
    source._client._session.trust_env = False  # noqa: SLF001 - a third of the time went to asking for proxies
    source._client._session.mount("http://canned:9090/api", server)  # noqa: SLF001 - the client has no other door
    return source, server


def _prometheus() -> Callable[[bytes], object]:
    source, server = _source()

    def parse(data: bytes) -> object:
        server.body = data
        return answers.rows(NOW, source._ask_now("up", QUERY), Labels())  # noqa: SLF001 - one query without threads

    return parse


def _series() -> Callable[[bytes], object]:
    """Return a parse of one reading among good ones, through to the observation that the core gets."""
    good, readings = _recorded(), list(catalogue.READINGS)
    turns = itertools.count()
    source, server = _source()

    def parse(data: bytes) -> object:
        server.body = data
        rows = answers.rows(NOW, source._ask_now("up", QUERY), Labels())  # noqa: SLF001 - one query without threads
        name = readings[next(turns) % len(readings)].name
        snapshot = Snapshot(NOW, {**good.readings, name: rows})
        return Join(POLICIES, WINDOWS).observation(snapshot, {})

    return parse


def _recorded() -> Snapshot:
    return asyncio.run(load_recording(SHIPPED).source(WINDOWS).read(NOW))


def _answers() -> tuple[bytes, ...]:
    """Return answers to each of the catalogue's queries, as a Prometheus over the recording that ships gives them."""
    readings = _recorded().readings.values()
    found = [[_series_of(row) for row in rows] for rows in readings if not isinstance(rows, Missing) and rows]
    vectors = [{"status": "success", "data": {"resultType": "vector", "result": result}} for result in found]
    matrix = [{"metric": {"pod": "d0"}, "values": [[NOW - 15, "1"], [NOW, "2.5"]]}]
    vectors.append({"status": "success", "data": {"resultType": "matrix", "result": matrix}})
    return tuple(json.dumps(answer).encode() for answer in vectors)


def _series_of(row: Row) -> dict[str, object]:
    return {"metric": dict(row.labels), "value": [row.at, str(row.value)]}


def _traces_csv() -> tuple[bytes, ...]:
    plain = b"arrival_s,input_tokens,output_tokens,profile\n0.0,374,44,chat\n4.315,3960,109,rag\n5,12,8,chat\n"
    hashed = b"arrival_s,input_tokens,output_tokens,hash_ids\n0.0,1024,44,1 2\n0.5,1500,109,1 2 3\n"
    return plain, hashed


def _traces_jsonl() -> tuple[bytes, ...]:
    plain = b'{"arrival_s": 0.5, "input_tokens": 374, "output_tokens": 44, "profile": "chat"}\n'
    mooncake = b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48]}\n'
    return plain + plain.replace(b"0.5", b"1.5"), mooncake * 2


def _gzipped(samples: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(gzip.compress(sample, mtime=0) for sample in samples)


def _trace(scratch: Scratch, name: str) -> Callable[[bytes], object]:
    return lambda data: read_trace(scratch.holding(name, data))


def _log_lines() -> tuple[bytes, ...]:
    """Return a log of two ticks of one policy, as ``run --decision-log`` writes it."""
    known = loop_speed.policies(1)
    deciding = loop_speed.decider(known)
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(Path(folder) / "log.jsonl", known)
        for tick in range(1):
            seen = loop_speed.observation(known, tick)
            asyncio.run(log.publish(TickRecord(seen, deciding.decide(seen))))
        log.close()
        lines = (Path(folder) / "log.jsonl").read_bytes().splitlines()
    return b"\n".join(lines[:2]), lines[1]


def _decision_log(scratch: Scratch) -> Callable[[bytes], object]:
    def parse(data: bytes) -> object:
        path = scratch.holding("log.jsonl", data)
        chain.verified(explain.lines(path))
        return [list(explain.page(one)) for one in explain.chains(path)]

    return parse


def _scenarios() -> tuple[bytes, ...]:
    """Return the scenarios that ship, shortened: what costs time is drawing the load."""
    return tuple(text.replace(b"30m", b"2m") for text in _files("examples/scenarios/*.yaml") if b"streams:" in text)


def _scenario(scratch: Scratch) -> Callable[[bytes], object]:
    return lambda data: read_scenario(scratch.holding("scenario.yaml", data))


def _profile(data: bytes) -> object:
    return parse_profile(data.decode(errors="replace"), "fuzz")


def _fleet(scratch: Scratch) -> Callable[[bytes], object]:
    return lambda data: FileFleet(scratch.holding("fleet.yaml", data), POLICIES)
