"""Runnable examples, small, with their expected output."""
