"""The command line as a user meets it, in this process."""

import pytest

from autoscaler.cli.app import main


def run(*arguments: object) -> int:
    """Run ``autoscaler`` with these words; return its exit status."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code
