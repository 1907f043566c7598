"""What every place for bytes must do.

Subclass `BlobSuite` in a test module and give it a fixture `blobs` with an empty place:

    class TestMyBlobs(BlobSuite):
        @pytest.fixture
        def blobs(self, tmp_path):
            return MyBlobs(tmp_path)
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bulkrate.blobs import Blobs
from bulkrate.errors import BlobMissing

KEY = "files/file-1"
LOG = "batches/batch_1/7.output"


def store(blobs: Blobs, key: str, *pieces: bytes) -> None:
    """Keep a blob of these pieces."""
    writer = blobs.create(key)
    for piece in pieces:
        writer.write(piece)
    writer.keep()


def content(blobs: Blobs, key: str) -> bytes:
    """All bytes under a key."""
    reader = blobs.open(key)
    try:
        return reader.read_at(0, reader.size)
    finally:
        reader.close()


def is_missing(blobs: Blobs, key: str) -> bool:
    """Whether there is nothing under a key."""
    try:
        blobs.open(key).close()
    except BlobMissing:
        return True
    return False


class BlobSuite:
    """The promises of `bulkrate.blobs.Blobs`, one test each."""

    def test_what_was_kept_is_read_back(self, blobs: Blobs) -> None:
        store(blobs, KEY, b"one ", b"", b"two")
        assert content(blobs, KEY) == b"one two"

    def test_a_blob_may_be_empty(self, blobs: Blobs) -> None:
        store(blobs, KEY)
        assert content(blobs, KEY) == b""

    def test_nothing_is_seen_before_it_is_kept(self, blobs: Blobs) -> None:
        writer = blobs.create(KEY)
        writer.write(b"half")
        assert is_missing(blobs, KEY)
        writer.keep()
        assert content(blobs, KEY) == b"half"

    def test_what_is_discarded_was_never_there(self, blobs: Blobs) -> None:
        writer = blobs.create(KEY)
        writer.write(b"half")
        writer.discard()
        assert is_missing(blobs, KEY)

    def test_discarding_what_is_kept_or_discarded_does_nothing(self, blobs: Blobs) -> None:
        kept, discarded = blobs.create(KEY), blobs.create(KEY)
        kept.write(b"kept")
        kept.keep()
        for _ in range(2):
            kept.discard()
            discarded.discard()
        assert content(blobs, KEY) == b"kept"

    def test_a_writer_knows_its_size_and_reads_back_what_it_wrote(self, blobs: Blobs) -> None:
        writer = blobs.create(KEY)
        writer.write(b"0123")
        assert writer.read_at(0, 4) == b"0123"
        writer.write(b"456789")
        assert writer.size == 10
        assert writer.read_at(2, 5) == b"23456"
        assert writer.read_at(8, 100) == b"89"
        writer.write(b"!")
        writer.keep()
        assert content(blobs, KEY) == b"0123456789!"

    def test_two_writers_of_one_key_do_not_mix(self, blobs: Blobs) -> None:
        first, second = blobs.create(KEY), blobs.create(KEY)
        first.write(b"first")
        second.write(b"second")
        first.keep()
        second.keep()
        assert content(blobs, KEY) == b"second"

    def test_a_new_blob_takes_the_place_of_an_old_one_all_at_once(self, blobs: Blobs) -> None:
        store(blobs, KEY, b"a long old one")
        reader = blobs.open(KEY)
        store(blobs, KEY, b"new")
        assert content(blobs, KEY) == b"new"
        assert reader.read_at(0, 100) == b"a long old one"
        reader.close()

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [(0, 10, b"0123456789"), (3, 4, b"3456"), (8, 5, b"89"), (10, 5, b""), (50, 5, b""), (4, 0, b"")],
    )
    def test_any_stretch_is_read_and_less_only_at_the_end(
        self, blobs: Blobs, offset: int, length: int, expected: bytes
    ) -> None:
        store(blobs, KEY, b"0123456789")
        reader = blobs.open(KEY)
        assert reader.size == 10
        assert reader.read_at(offset, length) == expected
        reader.close()

    def test_what_is_not_there_is_missing(self, blobs: Blobs) -> None:
        with pytest.raises(BlobMissing):
            blobs.open("files/file-nobody")

    @pytest.mark.parametrize("chunks", [[b"one", b"two"], [b"onetwo"], [b"", b"onetwo"]])
    def test_a_log_holds_its_chunks_in_order(self, blobs: Blobs, chunks: Iterable[bytes]) -> None:
        assert blobs.write_log(LOG, 0, iter(chunks)) == 6
        assert content(blobs, LOG) == b"onetwo"

    def test_a_log_grows_at_its_end(self, blobs: Blobs) -> None:
        end = blobs.write_log(LOG, 0, [b"one"])
        assert blobs.write_log(LOG, end, [b"two"]) == 6
        assert content(blobs, LOG) == b"onetwo"

    def test_the_second_part_of_a_log_may_come_before_the_first(self, blobs: Blobs) -> None:
        """Groups are written by several threads at once."""
        assert blobs.write_log(LOG, 3, [b"two"]) == 6
        assert blobs.write_log(LOG, 0, [b"one"]) == 3
        assert content(blobs, LOG) == b"onetwo"

    def test_writing_the_same_to_a_log_again_does_no_harm(self, blobs: Blobs) -> None:
        for _ in range(2):
            assert blobs.write_log(LOG, 0, [b"one"]) == 3
            assert blobs.write_log(LOG, 3, [b"two"]) == 6
        assert content(blobs, LOG) == b"onetwo"

    def test_what_a_log_holds_behind_the_offset_is_written_over(self, blobs: Blobs) -> None:
        """It was never committed: whoever reads stops before it."""
        blobs.write_log(LOG, 0, [b"counts"])
        blobs.write_log(LOG, 6, [b"never committed"])
        assert blobs.write_log(LOG, 6, [b"instead"]) == 13
        assert content(blobs, LOG)[:13] == b"countsinstead"

    def test_a_log_is_read_while_it_grows(self, blobs: Blobs) -> None:
        blobs.write_log(LOG, 0, [b"one"])
        reader = blobs.open(LOG)
        blobs.write_log(LOG, 3, [b"two"])
        assert reader.read_at(0, 6) == b"onetwo"
        reader.close()

    def test_what_is_deleted_is_missing(self, blobs: Blobs) -> None:
        store(blobs, KEY, b"x")
        blobs.delete(KEY)
        assert is_missing(blobs, KEY)

    def test_deleting_what_is_not_there_is_as_good(self, blobs: Blobs) -> None:
        blobs.delete("files/file-nobody")
        blobs.delete_all("batches/batch_nobody")

    def test_an_open_blob_is_read_to_its_end_though_it_was_deleted(self, blobs: Blobs) -> None:
        store(blobs, KEY, b"still here")
        reader = blobs.open(KEY)
        blobs.delete(KEY)
        assert reader.read_at(0, 100) == b"still here"
        reader.close()

    def test_a_folder_goes_with_all_below_it_and_nothing_else(self, blobs: Blobs) -> None:
        for key in ("batches/a/1.plan", "batches/a/2.plan", "batches/ab/1.plan", "files/a"):
            store(blobs, key, b"x")
        blobs.delete_all("batches/a")
        assert [key for key in ("batches/a/1.plan", "batches/a/2.plan") if not is_missing(blobs, key)] == []
        assert content(blobs, "batches/ab/1.plan") == content(blobs, "files/a") == b"x"

    def test_cleaning_removes_what_was_never_kept_and_nothing_else(self, blobs: Blobs) -> None:
        store(blobs, KEY, b"kept")
        blobs.write_log(LOG, 0, [b"log"])
        left = blobs.create("files/file-2")
        left.write(b"x" * 100_000)
        blobs.clean()
        assert content(blobs, KEY) == b"kept"
        assert content(blobs, LOG) == b"log"
        assert is_missing(blobs, "files/file-2")
        left.discard()

    def test_there_is_room(self, blobs: Blobs) -> None:
        assert blobs.free_bytes() > 0
