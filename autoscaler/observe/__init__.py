"""Reads the world: metrics and cluster become an Observation."""
