"""The command line: one file per command. Each parses, calls and prints; none decides."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """The `bulkrate` command. Ctrl-C ends it quietly also while it is still being loaded."""
    try:
        from bulkrate.cli.app import command

        command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
