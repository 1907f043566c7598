"""What the documentation claims about speed and memory, each as a command that measures it.

    python -m benchmarks.memory        peak memory, from a thousand lines to a million
    python -m benchmarks.latency       what a batch of one line takes on an idle server
    python -m benchmarks.listing       retrieve and list with ten thousand batches in the store
    python -m benchmarks.throughput    lines a second, against the machine, bare clients and other tools
    python -m benchmarks.peers         the other tools alone
    python -m benchmarks.rows          rows to answers: the command beside the engine alone, and its memory
    python -m benchmarks.linecost      what a line costs, step by step
    python -m benchmarks.utilisation   how much of an upstream's capacity is used
    python -m benchmarks.sidebyside    a thousand small batches beside a big one, a slow model beside a fast
    python -m benchmarks.tokens        how far the guess of tokens is off, per kind of text
    python -m benchmarks.kill          what a death of the server or of a worker costs

Every figure is printed as a ratio against a limit, or against a peer measured in the same run: seconds alone
say more about the machine than about us. Everything runs on 127.0.0.1, is bounded in count and in time, and
is stopped at the end.
"""
