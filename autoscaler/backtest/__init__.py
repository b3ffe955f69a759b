"""Policies against each other on a trace."""
