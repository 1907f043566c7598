"""Delegated upstreams: groups of lines go to a provider's batch API and are answered hours later, for less.

One process drives all of them. A group goes through five steps, one file each: **plan**, **submit** (with
**find**, when an answer was lost), **follow**, **collect**, **remove**. Before each step that the provider
can feel the store knows of it, so that whoever comes after a death goes on and buys nothing twice.
"""
