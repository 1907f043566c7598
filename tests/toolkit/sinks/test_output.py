"""A file comes into being whole or not at all, and says so before anything was paid for."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.addresses import File
from bulkrate.toolkit.rows.table import Column, Table
from bulkrate.toolkit.sinks import exists, open_sink
from bulkrate.toolkit.sinks.files import Output, RemoteFile
from bulkrate.toolkit.sinks.text import JsonLines
from bulkrate.toolkit.sources import open_source
from bulkrate.toolkit.sources.tables import Parquet

TABLE = Table(columns=(Column(name="id"), Column(name="text", kind="text")))
ROWS = [{"id": 1, "text": "a"}, {"id": 2, "text": None}]
EXTENSIONS = ["csv", "tsv", "jsonl", "json", "parquet", "arrow", "csv.gz", "jsonl.zst"]


def _run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, which may import from these tests."""
    root = Path(__file__).parents[3]
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(params=EXTENSIONS)
def target(request, tmp_path) -> Path:
    return tmp_path / f"out.{request.param}"


def test_nobody_sees_anything_before_the_commit(target):
    target.write_text("old")
    sink = open_sink(target)
    sink.open(TABLE)
    sink.write(ROWS)
    assert target.read_text() == "old"
    sink.commit()
    assert len(list(open_source(target).rows())) == 2
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    sink.discard()
    assert len(list(open_source(target).rows())) == 2


def test_a_discarded_output_leaves_what_was_there(target):
    target.write_text("old")
    for opened in (False, True):
        sink = open_sink(target)
        if opened:
            sink.open(TABLE)
            sink.write(ROWS)
        sink.discard()
        sink.discard()
        assert target.read_text() == "old"
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_sink_may_be_opened_again_after_a_discard(target):
    sink = open_sink(target)
    for rows in (ROWS * 2, ROWS):
        sink.open(TABLE)
        sink.write(rows)
    sink.commit()
    assert len(list(open_source(target).rows())) == 2


def test_a_table_without_rows_is_a_table(target):
    sink = open_sink(target)
    sink.open(TABLE)
    sink.write([])
    sink.commit()
    source = open_source(target)
    assert list(source.rows()) == []
    if source.columns is not None:
        assert [column.name for column in source.columns] == ["id", "text"]


def test_an_existing_file_keeps_its_permissions_and_a_new_one_follows_the_umask(target):
    mask = os.umask(0o027)
    try:
        for mode in (0o640, 0o604):
            sink = open_sink(target)
            sink.open(TABLE)
            assert stat.S_IMODE((target.parent / f".{target.name}.part").stat().st_mode) == 0o600
            sink.commit()
            assert stat.S_IMODE(target.stat().st_mode) == mode
            target.chmod(0o604)
    finally:
        os.umask(mask)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    sink = open_sink(tmp_path / "link.csv")
    sink.open(TABLE)
    sink.commit()
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "id,text\n"


def test_what_a_killed_process_left_is_taken_over(target):
    program = f"""
import os, signal
from bulkrate.toolkit.sinks import open_sink
from tests.toolkit.sinks.test_output import ROWS, TABLE
sink = open_sink({str(target)!r})
sink.open(TABLE)
sink.write(ROWS * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert _run(program).returncode == -signal.SIGKILL
    assert [path.name for path in target.parent.iterdir()] == [f".{target.name}.part"]
    sink = open_sink(target)
    sink.open(TABLE)
    sink.write(ROWS)
    sink.commit()
    assert len(list(open_source(target).rows())) == 2
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_two_at_once_do_not_mix(target):
    first, second = open_sink(target), open_sink(target)
    first.open(TABLE)
    with pytest.raises(SinkError, match="is being written by another process"):
        second.open(TABLE)
    second.discard()
    first.write(ROWS)
    first.commit()
    second.open(TABLE)
    second.commit()
    assert list(open_source(target).rows()) == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere/out.csv", "there is no folder"),
        ("folder.csv", "is no regular file"),
        ("out.xlsx", r"how is it to be written\? its name should end in one of \.csv"),
        ("out", "how is it to be written"),
        ("out.parquet.gz", "is packed within"),
        ("ftp://host/out.csv", r"nothing of that kind can be written to; there are paths, and s3://"),
        (f"{'x' * 300}.csv", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch, target, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SinkError, match=says):
        open_sink(target).open(TABLE)


def test_a_folder_that_may_not_be_written_is_refused_at_once(tmp_path):
    folder = Path(tempfile.mkdtemp())  # pytest's own are closed to others on the way
    folder.chmod(0o555)
    program = f"""
import os
from bulkrate.errors import SinkError
from bulkrate.toolkit.sinks import open_sink
from tests.toolkit.sinks.test_output import TABLE
if os.getuid() == 0:
    os.setuid(65534)
try:
    open_sink({str(folder / "out.csv")!r}).open(TABLE)
except SinkError as fault:
    print(fault)
"""
    assert _run(program).stdout == f"{folder}/out.csv: Permission denied\n"
    folder.rmdir()


def test_options_of_databases_are_refused_for_files(tmp_path):
    with pytest.raises(SinkError, match="is no database, and takes no table"):
        open_sink(tmp_path / "out.csv", table="t")
    with pytest.raises(SinkError, match="is no database, and takes no mode"):
        open_sink(tmp_path / "out.csv", mode="append")


def test_two_columns_of_one_name_are_refused(target):
    table = Table(columns=(Column(name="a"), Column(name="a")))
    with pytest.raises(SinkError, match="two columns would be named 'a'"):
        open_sink(target).open(table)
    scaled = Table(columns=(Column(name="v", kind="vector", dtype="int8"), Column(name="v_scale")))
    with pytest.raises(SinkError, match="two columns would be named 'v_scale'"):
        open_sink(target).open(scaled)


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    target = tmp_path / "out.parquet"
    target.write_text("old")
    program = f"""
import resource, signal
from bulkrate.errors import SinkError
from bulkrate.toolkit.sinks import open_sink
from tests.toolkit.sinks.test_output import TABLE
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sink = open_sink({str(target)!r})
sink.open(TABLE)
try:
    sink.write([dict(id=n, text="x" * 1000) for n in range(3000)])
    sink.commit()
except SinkError as fault:
    print(fault)
sink.discard()
"""
    assert _run(program).stdout == f"{target}: File too large\n"
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


class _Stdout:
    def __init__(self) -> None:
        self.buffer = io.BytesIO()


def test_standard_output_gets_lines_when_all_is_known(monkeypatch):
    for form, wanted in (
        (None, b'{"id":1,"text":"a"}\n{"id":2,"text":null}\n'),
        ("csv", b"id,text\n1,a\n2,\n"),
    ):
        monkeypatch.setattr(sys, "stdout", out := _Stdout())
        sink = open_sink("-", format=form)
        sink.open(TABLE)
        sink.write(ROWS)
        assert out.buffer.getvalue() == b""
        sink.commit()
        assert out.buffer.getvalue() == wanted


def test_whether_a_file_is_there_can_be_asked(tmp_path):
    assert not exists(tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("")
    assert exists(tmp_path / "out.csv")
    assert not exists("-")


@pytest.fixture
def bucket(tmp_path):
    """A file system behind pyarrow's interface, as S3 and Google Cloud Storage are."""
    (tmp_path / "bucket").mkdir()
    return pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())


def test_a_remote_file_appears_whole(bucket):
    target = RemoteFile(bucket, "bucket/out.jsonl", "s3://bucket/out.jsonl")
    assert not target.exists()
    sink = JsonLines(Output(target, "gzip"))
    sink.open(TABLE)
    sink.write(ROWS)
    names = [entry.base_name for entry in bucket.get_file_info(pafs.FileSelector("bucket"))]
    assert names == []
    sink.commit()
    assert target.exists()
    with bucket.open_input_stream("bucket/out.jsonl", compression="gzip") as stream:
        assert stream.read() == b'{"id":1,"text":"a"}\n{"id":2,"text":null}\n'


def test_a_remote_place_that_takes_nothing_is_refused_at_once(bucket):
    sink = JsonLines(Output(RemoteFile(bucket, "nowhere/out.jsonl", "s3://nowhere/out.jsonl"), None))
    with pytest.raises(SinkError, match="s3://nowhere/out"):
        sink.open(TABLE)


def test_a_remote_table_is_read(bucket):
    with bucket.open_output_stream("bucket/t.parquet") as stream:
        pa.parquet.write_table(pa.table({"n": [1, 2]}), stream)
    file = File("bucket/t.parquet", bucket, "s3")
    source = Parquet(file)
    assert (source.name, source.length) == ("s3://bucket/t.parquet", 2)
    assert list(source.rows()) == [{"n": 1}, {"n": 2}]
    assert source.mark() == file.mark() != ""
