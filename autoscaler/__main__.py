"""``python -m autoscaler`` and the console script ``autoscaler``."""

from autoscaler.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
