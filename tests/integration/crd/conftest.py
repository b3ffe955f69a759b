"""The stage of the loop's stories serves those of the custom resource too."""

from tests.integration.loop.conftest import staging

__all__ = ["staging"]
