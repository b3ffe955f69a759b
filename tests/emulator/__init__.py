"""A cluster without servers: API objects, workload controllers, endpoint pickers and engines in virtual time.

Written from rules (R1 to R8 of the picker's contract with pods, the order in which controllers delete pods, what was
observed of a running picker), not from anybody's code. The controller under test runs its real parts against it.
"""
