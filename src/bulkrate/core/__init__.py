"""What is decided: pure functions and frozen values.

Nothing here reads a clock, rolls dice, or touches network, disk or database; `now` and `jitter` come in as
arguments.
"""
