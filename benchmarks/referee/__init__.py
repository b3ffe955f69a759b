"""Our decider as a policy of the independent referee."""
