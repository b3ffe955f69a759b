"""Commands set up the log of their process: here it is put back after each test."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def unconfigured_log() -> Iterator[None]:
    yield
    structlog.reset_defaults()
