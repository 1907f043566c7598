"""Other tools for the same job, each as released, in an environment of its own, driven by its own interface.

    python -m benchmarks.peers              all of them, against bulkrate in the same run
    python -m benchmarks.peers litellm      one of them

None is installed into bulkrate's environment: each gets one in the user's cache folder, made by uv (or venv
and pip), pinned to a version. What cannot be installed or does not start is skipped, and said to be.
"""
