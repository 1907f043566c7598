"""How vendors speak: which fields an endpoint needs, where usage stands, what error bodies look like.

Pure, no network.
"""
