"""Durations as Kubernetes writes them."""

import pytest

from autoscaler.domain.units import Seconds
from autoscaler.policy import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300ms", 0.3), ("2s", 2), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("0s", 0), ("1m500ms", 60.5)],
)
def test_parse(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-2s", "2d", "1e3s", "٣s", "2s\n", "9" * 400 + "h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is longer"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.05, "50ms"), (5400, "1h30m"), (0, "0s"), (61.5, "1m1.5s"), (60.001, "1m0.001s")]
)
def test_render(seconds: float, text: str) -> None:
    assert durations.render(Seconds(seconds)) == text
