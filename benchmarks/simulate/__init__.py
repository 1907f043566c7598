"""A simulator that proves the window controller: the very code of `bulkrate.core`, driven against models of
upstreams.

Nothing here waits or reads a clock: an hour of an engine takes a second or two. Seeds are fixed, so a run can
be repeated.
"""
