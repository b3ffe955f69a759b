"""Changes replica counts."""
