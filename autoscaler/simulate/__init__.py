"""A cluster in virtual time that implements the ports."""
