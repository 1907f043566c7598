"""The board: whoever reads sees something whole, whatever the writer does meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from bulkrate.core.stats import CommitStats, ProcessSnapshot, UpstreamSnapshot, UpstreamStats
from bulkrate.engine.board import Board
from bulkrate.engine.telling import SILENT_S_MAX, Teller, silent
from bulkrate.providers.usage import NO_USAGE


@pytest.fixture
def board():
    board = Board.new(("clerk", "sender-0"))
    yield board
    os.close(board.fd)


def numbers(pid: int, upstreams: int = 1) -> ProcessSnapshot:
    stats = UpstreamStats()
    stats.answered(0.5, NO_USAGE)
    shown = stats.snapshot(in_flight=pid, window=2, mode="fixed", state="ok", reason=None, waiting=0)
    return ProcessSnapshot(
        pid=pid, started_at=1.0, told_at=2.0, upstreams={f"gpu-{n}": shown for n in range(upstreams)}
    )


def test_trouble_is_read_by_role_and_gone_when_it_is_over(board):
    board.say("clerk", "the disk is full")
    assert board.read() == {"clerk": "the disk is full"}
    board.say("clerk", "x" * 5_000)
    assert board.read() == {"clerk": "x" * 1_024}
    board.say("clerk", None)
    assert board.read() == {}


def test_a_role_that_told_nothing_has_no_numbers(board):
    assert board.shown("clerk") is None


def test_the_latest_numbers_are_shown_and_those_of_other_roles_are_apart(board):
    for pid in range(1, 6):
        board.show("sender-0", numbers(pid))
        assert board.shown("sender-0") == numbers(pid)
    board.say("sender-0", "the disk is full")
    assert board.shown("sender-0") == numbers(5)
    assert board.shown("clerk") is None


def test_five_hundred_upstreams_have_room(board):
    board.show("sender-0", numbers(1, upstreams=500))
    assert board.shown("sender-0") == numbers(1, upstreams=500)


def test_numbers_beyond_the_room_leave_those_before(board):
    board.show("sender-0", numbers(1))
    long_name = {"x" * (9 << 20): numbers(2).upstreams["gpu-0"]}
    board.show("sender-0", msgspec.structs.replace(numbers(2), upstreams=long_name))
    assert board.shown("sender-0") == numbers(1)


@pytest.mark.parametrize("spoiled", [0, 8, 12, 16, 100])
def test_a_writer_that_died_in_the_middle_leaves_the_numbers_before(board, spoiled):
    board.show("sender-0", numbers(1))
    board.show("sender-0", numbers(2))  # the newer is in the place of even numbers
    place = board._place("sender-0", 2) + spoiled
    byte = os.pread(board.fd, 1, place)
    os.pwrite(board.fd, bytes([byte[0] ^ 0xFF]), place)
    assert board.shown("sender-0") == numbers(1)


_WRITER = """
import sys
from bulkrate.core.stats import ProcessSnapshot
from bulkrate.engine.board import Board
from tests.engine.test_board import numbers
board = Board(int(sys.argv[1]), ("clerk", "sender-0"))
print("ready", flush=True)
for pid in range(1, 1 << 30):
    board.show("sender-0", numbers(pid, upstreams=1 + pid % 40))
"""


@pytest.mark.server
def test_a_reader_beside_a_busy_writer_never_sees_a_torn_snapshot_nor_goes_back(board):
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(board.fd)], pass_fds=[board.fd], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        last, seen = 0, set()
        for _ in range(20_000):
            shown = board.shown("sender-0")
            if shown is None:
                continue  # the writer has only just begun
            assert shown == numbers(shown.pid, upstreams=1 + shown.pid % 40)
            assert shown.pid >= last
            last = shown.pid
            seen.add(last)
            if len(seen) > 300:
                break
        assert len(seen) > 10
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def one_more(before: UpstreamSnapshot | None) -> UpstreamSnapshot:
    stats = UpstreamStats(before)
    stats.answered(0.5, NO_USAGE)
    return stats.snapshot(in_flight=3, window=4, mode="fixed", state="ok", reason=None, waiting=0)


def test_a_successor_counts_on_from_what_was_told_last(context):
    first = Teller(context, "sender-0")
    assert first.before("gpu") is None
    first.tell({"gpu": one_more(None)}, CommitStats().snapshot(queued=7))
    before = context.board.shown("sender-0")

    second = Teller(context, "sender-0")
    second.tell({"gpu": one_more(second.before("gpu"))}, second.commits_before)
    told = context.board.shown("sender-0")
    assert told.upstreams["gpu"].attempts == {"answered": 2}
    assert told.commits.queued == 7
    assert told.cpu_s > before.cpu_s


def test_what_was_counted_at_an_upstream_stays_when_it_is_driven_no_more(context):
    teller = Teller(context, "sender-0")
    teller.tell({"gpu": one_more(None)})
    teller.tell({})
    rested = context.board.shown("sender-0").upstreams["gpu"]
    assert (rested.attempts, rested.in_flight, rested.state) == ({"answered": 1}, 0, "idle")
    teller.tell({"gpu": one_more(teller.before("gpu"))})
    assert context.board.shown("sender-0").upstreams["gpu"].attempts == {"answered": 2}


def test_a_process_that_tells_nothing_for_too_long_is_named(board):
    board.show("clerk", numbers(1))  # told at 2.0
    assert silent(board, since=5.0, now=2.0 + SILENT_S_MAX) == {}
    assert set(silent(board, since=5.0, now=2.5 + SILENT_S_MAX)) == {"clerk"}
    assert set(silent(board, since=5.0, now=5.5 + SILENT_S_MAX)) == {"clerk", "sender-0"}
