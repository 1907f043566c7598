"""What can be asked of the engine: one noun a file, each method seeing one project alone.

Nothing here waits for work to be done, but for `run`; nothing here sends a line.
"""
