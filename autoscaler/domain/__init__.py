"""The vocabulary of the project as frozen values: no I/O, no clock, nothing imported but the standard library."""
