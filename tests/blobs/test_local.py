"""Bytes on a local disk: the suite of the seam, and what only a disk can do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bulkrate.blobs import LocalBlobs
from bulkrate.errors import BlobError, BlobMissing, NoSpace
from bulkrate.testing.blobs import KEY, LOG, BlobSuite, content, store


@pytest.fixture
def blobs(tmp_path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


class TestLocalBlobs(BlobSuite):
    """The promises of the seam, kept by files."""


def files_below(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_unfinished_file_lies_apart_until_it_is_kept_or_cleaned(blobs, tmp_path):
    writer = blobs.create(KEY)
    writer.write(b"x")
    assert [name.partition("/")[0] for name in files_below(tmp_path / "blobs")] == ["new"]
    blobs.clean()
    assert files_below(tmp_path / "blobs") == []
    writer.discard()


def test_a_file_that_is_kept_or_discarded_leaves_nothing_beside_it(blobs, tmp_path):
    store(blobs, KEY, b"x")
    blobs.create("files/file-2").discard()
    assert files_below(tmp_path / "blobs") == [KEY]


def test_only_we_may_read_the_files(blobs, tmp_path):
    store(blobs, KEY, b"x")
    blobs.write_log(LOG, 0, [b"x"])
    for name in (KEY, LOG):
        assert (tmp_path / "blobs" / name).stat().st_mode & 0o077 == 0


def test_what_could_not_be_kept_leaves_nothing_behind(blobs, tmp_path):
    # A file that had been synced but could not be put in its place once stayed until the next start.
    (tmp_path / "blobs" / "files").write_bytes(b"a file where the folder should be")
    writer = blobs.create(KEY)
    writer.write(b"x")
    with pytest.raises(BlobError):
        writer.keep()
    writer.discard()
    assert files_below(tmp_path / "blobs") == ["files"]


def test_a_folder_is_no_blob(blobs):
    store(blobs, KEY, b"x")
    with pytest.raises(BlobError):
        content(blobs, "files")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_stays_open(blobs):
    before = open_files()
    store(blobs, KEY, b"x")
    blobs.create(KEY).discard()
    content(blobs, KEY)
    blobs.write_log(LOG, 0, [b"x"])
    with pytest.raises(BlobMissing):
        blobs.open("files/nobody")
    assert open_files() == before


def test_threads_write_and_read_at_once(blobs):
    def work(number: int) -> bytes:
        key = f"batches/batch_{number % 3}/{number}.output"
        for part in range(5):
            blobs.write_log(key, part * 10, [b"%010d" % part])
        return content(blobs, key)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(work, range(24))) == {b"".join(b"%010d" % part for part in range(5))}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from bulkrate.blobs import LocalBlobs
from bulkrate.errors import NoSpace

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
blobs = LocalBlobs(Path(sys.argv[1]))
blobs.write_log("batches/b/1.output", 0, [b"counts"])
writer = blobs.create("files/file-1")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for act in (
    lambda: writer.write(b"x" * 2000),
    lambda: blobs.write_log("batches/b/1.output", 6, [b"x" * 2000]),
):
    try:
        act()
    except NoSpace as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.discard()
blobs.write_log("batches/b/1.output", 6, [b" and goes on"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_is_told_as_such_and_when_there_is_room_it_goes_on(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("failed: File too large") == 2
    assert files_below(tmp_path) == ["batches/b/1.output"]
    assert content(LocalBlobs(tmp_path), "batches/b/1.output")[:18] == b"counts and goes on"


def test_a_disk_that_is_full_raises_no_space(blobs, tmp_path):
    """The device itself says so: /dev/full takes every open and refuses every byte."""
    (tmp_path / "blobs" / "batches").mkdir()
    (tmp_path / "blobs" / "batches" / "log").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="No space left"):
        blobs.write_log("batches/log", 0, [b"x"])
