"""What the command line understands, and how it says what it does not."""

import pytest

from autoscaler.cli import options
from autoscaler.errors import InputError
from autoscaler.settings import Server


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795372107.128", 1795372107.128),
        ("1795372107", 1795372107.0),
        ("0", 0.0),
        ("2026-11-22T18:28:27Z", 1795372107.0),
        ("2026-11-22T18:28:27", 1795372107.0),
        ("2026-11-22 18:28:27.128", 1795372107.128),
        ("2026-11-22T19:28:27+01:00", 1795372107.0),
        ("2026-11-22", 1795305600.0),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert options.moment(text, "--at") == pytest.approx(seconds, abs=1e-3)


def test_no_moment_is_none() -> None:
    assert options.moment(None, "--at") is None


@pytest.mark.parametrize("text", ["yesterday", "", "nan", "inf", "-5", "1e400", "18:05", "2026-13-01", "5m"])
def test_what_is_no_moment_is_named_with_its_option(text: str) -> None:
    with pytest.raises(InputError, match=r"^--from: '.*' is no time; write Unix seconds or 2026-11-22T18:05:00Z$"):
        options.moment(text, "--from")


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15.0), ("1h30m", 5400.0), ("500ms", 0.5), ("0s", 0.0)])
def test_durations(text: str, seconds: float) -> None:
    assert options.duration(text, "--history") == seconds


@pytest.mark.parametrize("text", ["", "15", "-15s", "soon", "1d", "200000000h"])
def test_what_is_no_duration_is_named_with_its_option(text: str) -> None:
    with pytest.raises(InputError, match=r"^--history: "):
        options.duration(text, "--history")


def test_a_period_of_nothing_is_refused_rather_than_replaced() -> None:
    assert options.positive("2s", "--period") == 2.0
    with pytest.raises(InputError, match=r"^--period: '0s' is no time at all"):
        options.positive("0s", "--period")


def test_a_window_may_be_left_out_but_not_be_nothing() -> None:
    assert options.window(None) is None
    assert options.window("2m") == 120.0
    with pytest.raises(InputError, match=r"^--window: '0ms'"):
        options.window("0ms")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("0.0.0.0:9095", "0.0.0.0", 9095), ("localhost:0", "localhost", 0), ("[::1]:80", "::1", 80)],  # noqa: S104
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert options.server(text) == Server(host, port)


@pytest.mark.parametrize("text", ["9095", ":9095", "host:", "host:http", "host:65536", "host:-1", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--listen: '.*' is no address; write HOST:PORT"):
        options.server(text)


def test_a_word_must_be_among_those_allowed() -> None:
    options.choice("json", "--log-format", ("json", "console"))
    with pytest.raises(InputError, match=r"^--log-format: 'xml' is not known; write json or console$"):
        options.choice("xml", "--log-format", ("json", "console"))
