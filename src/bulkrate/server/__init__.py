"""HTTP in, HTTP out.

Turns requests into calls of the engine, and what the engine says into OpenAI's JSON. Knows syntax, limits
of bodies and headers; decides nothing about files or batches, and keeps nothing between two requests.
"""
