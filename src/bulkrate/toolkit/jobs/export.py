"""The requests of a job as a file in OpenAI's batch format, to be run elsewhere."""

from __future__ import annotations

from pathlib import Path

from bulkrate.errors import SinkError
from bulkrate.toolkit.jobs.runner import Runner


def export_requests(runner: Runner, path: Path) -> int:
    """Write what the job would send now; how many requests that is. Raises `SinkError`."""
    count = 0
    scratch = path.with_name(f".{path.name}.new")
    try:
        with scratch.open("wb") as file:
            for line in runner.request_lines():
                file.write(line)
                count += 1
        scratch.replace(path)
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}") from error
    return count
