"""The log never makes a process wait, and loses nothing that fits its bound."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bulkrate.telemetry.stderr import KEPT_LINES_MAX, Unwaited

#: More than a pipe holds.
FULL_LINES = 200
LINE = "x" * 1_000 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, Unwaited, list[int]]]:
    """Where to read, a stream to the other end, and what was told to be lost."""
    read_end, write_end = os.pipe()
    lost: list[int] = []
    with os.fdopen(write_end, "w", encoding="utf-8") as stream:
        yield read_end, Unwaited(stream, lost.append), lost
        os.close(read_end)


def taken(read_end: int, size: int) -> str:
    """Exactly so much of what is there."""
    found = b""
    while len(found) < size:
        found += os.read(read_end, size - len(found))
    return found.decode()


def test_what_nobody_reads_is_kept_and_comes_in_order(pipe):
    read_end, log, lost = pipe
    lines = [f"{number} {LINE}" for number in range(FULL_LINES)]
    for line in lines:
        log.write(line)  # once, this waited for a reader
    found = ""
    wanted = "".join(lines)
    while len(found) < len(wanted):
        found += taken(read_end, min(32_768, len(wanted) - len(found)))
        log.write("")
    assert found == wanted
    assert lost == []


def test_what_is_beyond_the_bound_is_counted_and_told_when_there_is_room(pipe):
    read_end, log, lost = pipe
    for _ in range(FULL_LINES + KEPT_LINES_MAX + 7):
        log.write(LINE)
    assert lost == []
    size = 0
    while not lost:
        size += len(taken(read_end, 32_768))
        log.write("")
    assert lost[0] > 7
    assert size <= (FULL_LINES + KEPT_LINES_MAX) * len(LINE)


def test_a_line_longer_than_a_pipe_is_written_in_pieces(pipe):
    read_end, log, _ = pipe
    long = "é" * 100_000 + "\n"
    log.write(long)
    size = len(long.encode())
    found = b""
    while len(found) < size:
        found += os.read(read_end, 32_768)
        log.write("")
    assert found.decode() == long


def test_the_last_lines_of_a_process_are_written_at_its_end():
    program = (
        "from bulkrate.telemetry import log_event, log_to_stderr\n"
        "log_to_stderr('server')\n"
        f"[log_event(30, 'batch_ended', number=number, text='x' * 1_000) for number in range({FULL_LINES})]\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert len(ended.stderr.splitlines()) == FULL_LINES


def test_a_process_whose_log_nobody_reads_ends():
    program = (
        "from bulkrate.telemetry import log_event, log_to_stderr\n"
        "log_to_stderr('server')\n"
        "for number in range(5_000): log_event(30, 'batch_ended', text='x' * 1_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 0
