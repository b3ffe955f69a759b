"""The command line: the only place that builds objects and wires adapters."""
