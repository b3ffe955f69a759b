"""The session on bad days: what is tried again, what is not, and what the user is told."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from autoscaler.domain.units import Seconds
from autoscaler.errors import ActuationError, InputError, ObservationError
from autoscaler.kube import PODS, Backoff, KubeError, KubeReadError, KubeSession, KubeWriteError, Login, Resource
from tests.unit.kube.fake_api import refusal, serving, write_kubeconfig

POD = PODS.at("llm", "decode-0")
SCALE = Resource("apps/v1", "Deployment", "deployments").at("llm", "decode", "scale")


class Script:
    """Answers in turn; the last answer stays. Counts what was asked."""

    def __init__(self, *answers: Callable[[], web.Response]) -> None:
        self.asked: list[web.BaseRequest] = []
        self._answers = answers

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]()


def fine() -> web.Response:
    return web.json_response({"kind": "Pod"})


def get(script: Script, path: Path) -> str:
    """Read a pod once; return what went wrong, or nothing."""

    async def play() -> str:
        async with serving(script, path / "config") as session:
            try:
                await session.get(POD)
            except KubeReadError as error:
                return str(error)
            return ""

    return asyncio.run(play())


def patch(script: Script, path: Path) -> str:
    """Write a scale once; return what went wrong, or nothing."""

    async def play() -> str:
        async with serving(script, path / "config") as session:
            try:
                await session.patch(SCALE, {"spec": {"replicas": 2}})
            except KubeWriteError as error:
                return str(error)
            return ""

    return asyncio.run(play())


def test_a_write_tells_the_server_when_to_give_up(tmp_path: Path) -> None:
    read, written = Script(fine), Script(fine)
    assert not get(read, tmp_path)
    assert not patch(written, tmp_path)
    assert ("timeout" in read.asked[0].query_string, "timeout=1s" in written.asked[0].query_string) == (False, True)


@pytest.mark.parametrize(
    ("status", "reads", "writes"),
    [
        pytest.param(429, 2, 2, id="too many requests: not done, so both"),
        pytest.param(503, 2, 2, id="unavailable: not done, so both"),
        pytest.param(500, 2, 1, id="internal error: a write may have been done"),
        pytest.param(504, 2, 1, id="gateway timeout: a write may have been done"),
        pytest.param(404, 1, 1, id="not found: again would be in vain"),
        pytest.param(409, 1, 1, id="conflict: the caller must look anew"),
        pytest.param(422, 1, 1, id="invalid: again would be in vain"),
    ],
)
def test_what_is_tried_again(tmp_path: Path, status: int, reads: int, writes: int) -> None:
    read, written = Script(lambda: refusal(status), fine), Script(lambda: refusal(status), fine)
    assert bool(get(read, tmp_path)) is (reads == 1)
    assert bool(patch(written, tmp_path)) is (writes == 1)
    assert (len(read.asked), len(written.asked)) == (reads, writes)


def test_the_attempts_end(tmp_path: Path) -> None:
    script = Script(lambda: refusal(503, "apiserver is shutting down"))
    assert get(script, tmp_path) == "get pods llm/decode-0: HTTP 503: apiserver is shutting down"
    assert len(script.asked) == 3


def test_the_server_decides_how_long_to_wait(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert not get(Script(lambda: refusal(429, Retry_After="1"), fine), tmp_path)
    assert 1.0 <= time.monotonic() - begun < 3.0
    script = Script(lambda: refusal(429, Retry_After="3600"), fine)
    assert "HTTP 429" in get(script, tmp_path)
    assert len(script.asked) == 1, "an hour is not waited for inside a tick"


def test_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers["Authorization"])
        return fine() if tokens[-1] == "Bearer second" else refusal(401, "Unauthorized")

    async def play() -> None:
        path = tmp_path / "config"
        async with serving(handler, path) as session:
            with pytest.raises(KubeReadError, match="the login is not accepted: Unauthorized; renew"):
                await session.get(POD)
            write_kubeconfig(path, path.read_text().split("server: ")[1].split()[0], token="second")  # noqa: S106
            await asyncio.gather(*(session.get(POD) for _ in range(5)))

    asyncio.run(play())
    assert tokens[-1] == "Bearer second"


def test_a_missing_right_is_named_with_its_verb(tmp_path: Path) -> None:
    said = patch(Script(lambda: refusal(403, "deployments.apps is forbidden")), tmp_path)
    assert said == (
        'patch deployments.apps/scale llm/decode: forbidden: grant verb "patch" on "deployments/scale" of API group '
        '"apps" in namespace "llm" (deployments.apps is forbidden)'
    )


def test_an_answer_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    said = get(Script(lambda: web.Response(text="<html>a proxy's login page</html>")), tmp_path)
    assert said.startswith("get pods llm/decode-0: an answer that cannot be read")


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return fine()

    async def play() -> None:
        async with serving(handler, tmp_path / "config") as session:
            begun = time.monotonic()
            with pytest.raises(KubeWriteError, match="no answer in time"):
                await session.patch(SCALE, {})
            assert time.monotonic() - begun < 2.5, "a write is not tried again: it may have been done"

    asyncio.run(play())


def test_an_absent_server_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
        login = Login(kubeconfig=str(tmp_path / "config"))
        async with await KubeSession.open(jitter=lambda: 0.0, login=login) as session:
            with pytest.raises(KubeWriteError, match="no connection"):
                await session.patch(SCALE, {})

    asyncio.run(play())


CLUSTER = "contexts: [{name: x, context: {cluster: y, user: z}}]\ncurrent-context: x\nusers: []\nclusters: "


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no file"),
        pytest.param("", id="empty"),
        pytest.param("a: [b", id="no YAML"),
        pytest.param("just words", id="no mapping"),
        pytest.param("kind: Config", id="no context"),
        pytest.param("current-context: x\ncontexts: []\nclusters: []", id="unknown context"),
        pytest.param(CLUSTER + '[{name: y, cluster: {server: "https://h", certificate-authority: /no}}]', id="no CA"),
        pytest.param(
            CLUSTER + '[{name: y, cluster: {server: "https://h", certificate-authority-data: bm8=}}]', id="CA is none"
        ),
    ],
)
def test_an_unusable_login_is_an_error_that_says_how_to_log_in(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"(?s)no login to Kubernetes by {path}: .*; set KUBECONFIG or --kubeconfig"):
        asyncio.run(KubeSession.open(jitter=lambda: 0.0, login=Login(kubeconfig=str(path))))


def test_in_a_pod_without_a_token_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(InputError, match="Service token file does not exist"):
        asyncio.run(KubeSession.open(jitter=lambda: 0.0))


def test_errors_are_sorted_by_what_to_do() -> None:
    assert issubclass(KubeReadError, KubeError)
    assert issubclass(KubeReadError, ObservationError)
    assert issubclass(KubeWriteError, KubeError)
    assert issubclass(KubeWriteError, ActuationError)


@pytest.mark.parametrize(
    ("failures", "jitter", "delay"),
    [(0, 0.0, 0.5), (0, 1.0, 1.0), (1, 1.0, 2.0), (3, 1.0, 8.0), (4, 1.0, 10.0), (100_000, 0.0, 5.0)],
)
def test_backoff_doubles_up_to_its_limit(failures: int, jitter: float, delay: float) -> None:
    assert Backoff(lambda: jitter, first=Seconds(1.0), longest=Seconds(10.0)).delay(failures) == delay
