"""Finds the cheapest set of replicas that keeps every profile inside its SLO."""
