"""Finds what makes the autoscaler silently useless: each check says what it looked at, found, and what to do."""
