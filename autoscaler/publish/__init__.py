"""Tells the endpoint picker, the operator and the record what was decided."""
