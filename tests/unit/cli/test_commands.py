"""``recommend`` and ``run`` as a user meets them who got something wrong: exit status and what stderr says."""

import socket
from pathlib import Path

import pytest

from tests.command import run

ROOT = Path(__file__).resolve().parents[3]
POLICY = str(ROOT / "examples" / "h200_pd" / "policy.yaml")
FLEET = str(ROOT / "examples" / "h200_pd" / "fleet.yaml")

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: none}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
current-context: none
"""


@pytest.fixture(scope="module")
def nowhere() -> str:
    """Return the address of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def recommend(nowhere: str, *arguments: str, policy: str = POLICY) -> int:
    return run("recommend", "--policy", policy, "--prometheus", nowhere, *arguments)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--at", "yesterday"), "--at: 'yesterday' is no time; write Unix seconds or 2026-11-22T18:05:00Z"),
        (("--from", "0"), "--from and --to belong together, --step with them, and --at excludes them"),
        (("--at", "0", "--from", "0", "--to", "1"), "--from and --to belong together"),
        (("--step", "15s"), "--from and --to belong together"),
        (("--from", "100", "--to", "50"), "--to 50 lies before --from 100; swap them"),
        (("--from", "0", "--to", "50", "--step", "0s"), "--step: '0s' is no time at all"),
        (("--from", "0", "--to", "1795372107", "--step", "1ms"), "at most 100000 are made; take longer steps"),
        (("--history", "long"), "--history: 'long' is no duration"),
        (("--window", "0s"), "--window: '0s' is no time at all"),
        (("--fleet", "/nowhere/fleet.yaml"), "--fleet /nowhere/fleet.yaml: No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_exits_1_and_says_which(
    nowhere: str, arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(nowhere, *arguments) == 1
    told = capsys.readouterr()
    assert complaint in told.err
    assert told.out == ""
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="now"),
        pytest.param(("--history", "0s", "--window", "30s"), id="without a look back"),
        pytest.param(
            ("--from", "1795372100", "--to", "1795372130", "--fleet", FLEET, "--history", "0s"), id="a series"
        ),
    ],
)
def test_an_unreachable_prometheus_exits_1(
    nowhere: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(nowhere, *arguments) == 1
    told = capsys.readouterr()
    assert f"error: prometheus {nowhere}: no answer (ConnectionError); is the URL right, is the server up?" in told.err
    assert told.out == ""
    assert "Traceback" not in told.err


def test_a_policy_without_a_model_exits_1(nowhere: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path(POLICY).read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "policy.yaml"
    path.write_text("".join(line for line in lines if not line.startswith("  model:")), encoding="utf-8")
    assert recommend(nowhere, policy=str(path)) == 1
    told = capsys.readouterr().err
    assert f"error: {path}" in told
    assert "spec.model: " in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--prometheus", "prometheus:9090"), "is no http(s) URL; write http://HOST:9090"),
        (("--prometheus", "http://me:secret@host"), "the URL holds credentials"),
        (("--prometheus", "http://host", "--prometheus-user", "me"), "a user name and a password file belong together"),
    ],
    ids=["no URL", "credentials", "half a login"],
)
def test_an_unusable_address_exits_1(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("recommend", "run"):
        assert run(command, "--policy", POLICY, *arguments) == 1
        assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend",),
        ("recommend", "--policy", POLICY),
        ("recommend", "--policy", POLICY, "--prometheus", "http://x", "--output", "xml"),
        ("recommend", "--policy", POLICY, "--prometheus", "http://x", "--utc"),
        ("run", "--policy", POLICY),
    ],
    ids=lambda arguments: " ".join(Path(part).name for part in arguments),
)
def test_wrong_usage_exits_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PROMETHEUS_URL", raising=False)
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--period", "0s"), "--period: '0s' is no time at all; write for example 15s"),
        (("--period", "often"), "--period: 'often' is no duration"),
        (("--listen", "9095"), "--listen: '9095' is no address"),
        (("--log-level", "loud"), "--log-level: 'loud' is not known; write debug or info or warning or error"),
        (("--log-format", "xml"), "--log-format: 'xml' is not known; write json or console"),
        (("--kubeconfig", "/nowhere/kubeconfig"), "/nowhere/kubeconfig"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_controller_that_cannot_start_says_why(
    nowhere: str, arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "--policy", POLICY, "--prometheus", nowhere, *arguments) == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert "Traceback" not in told


def test_an_address_in_use_ends_it_before_anything_else(
    nowhere: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        where = ("--prometheus", nowhere, "--kubeconfig", str(kubeconfig), "--listen", listen)
        assert run("run", "--policy", POLICY, *where) == 1
    told = capsys.readouterr().err
    assert f"error: --listen: {listen}: " in told
    assert "name an address that is free" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("command", ["recommend", "run"])
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert f"Example: autoscaler {command} " in capsys.readouterr().out
