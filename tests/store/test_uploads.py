"""Records of uploads: pending once, ended once."""

from __future__ import annotations

import pytest

from bulkrate.store.records import PartRecord, UploadRecord
from tests.store.records import NOW, a_file


def an_upload(name: str = "1", **fields) -> UploadRecord:
    given = {
        "id": f"upload_{name}",
        "project": "default",
        "filename": "a",
        "purpose": "batch",
        "bytes": 10,
        "created_at": NOW,
        "expires_at": NOW + 3_600,
        "status": "pending",
    }
    return UploadRecord(**(given | fields))


def a_part(name: str, upload: str = "1", size: int = 4) -> PartRecord:
    return PartRecord(
        id=f"part_{name}", upload_id=f"upload_{upload}", bytes=size, created_at=NOW, blob=f"parts/{name}"
    )


def test_an_upload_is_seen_by_its_project_alone(store):
    store.uploads.add(an_upload())
    assert store.uploads.get("default", "upload_1").bytes == 10
    assert store.uploads.get("lab", "upload_1") is None


def test_parts_are_counted_per_upload(store):
    for name in "12":
        store.uploads.add(an_upload(name))
    assert store.uploads.received("upload_1") == 0
    for name, upload, size in (("a", "1", 4), ("b", "1", 2**33), ("c", "2", 5)):
        assert store.uploads.add_part(a_part(name, upload, size))
    assert store.uploads.received("upload_1") == 4 + 2**33
    assert {part.id for part in store.uploads.parts("upload_1")} == {"part_a", "part_b"}


def test_completing_makes_the_file_and_ends_the_upload(store):
    store.uploads.add(an_upload())
    assert store.uploads.complete("upload_1", a_file())
    assert store.uploads.get("default", "upload_1").status == "completed"
    assert store.uploads.get("default", "upload_1").file_id == "file-1"
    assert store.files.get("default", "file-1", now=NOW) is not None


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
def test_an_ended_upload_takes_nothing_more(store, end):
    store.uploads.add(an_upload())
    if end == "completed":
        store.uploads.complete("upload_1", a_file())
    else:
        assert store.uploads.end("upload_1", end)
    assert not store.uploads.add_part(a_part("a"))
    assert not store.uploads.complete("upload_1", a_file("2"))
    assert not store.uploads.end("upload_1", "cancelled")
    assert store.uploads.get("default", "upload_1").status == end
    assert store.files.place("default", "file-2") is None


def test_what_nobody_began_takes_no_part(store):
    assert not store.uploads.add_part(a_part("a"))
    assert not store.uploads.end("upload_1", "cancelled")


def test_pending_uploads_lapse_at_their_moment(store):
    store.uploads.add(an_upload("1", expires_at=NOW))
    store.uploads.add(an_upload("2", expires_at=NOW + 1))
    store.uploads.add(an_upload("3", expires_at=NOW, status="cancelled"))
    assert store.uploads.lapsed(now=NOW) == ["upload_1"]


def test_the_parts_of_ended_uploads_are_found_until_they_are_forgotten(store):
    for name in "12":
        store.uploads.add(an_upload(name))
        store.uploads.add_part(a_part(f"{name}a", name))
        store.uploads.add_part(a_part(f"{name}b", name))
    assert store.uploads.ended_with_parts() == []
    store.uploads.end("upload_1", "expired")
    assert store.uploads.ended_with_parts() == ["upload_1"]
    store.uploads.forget_parts("upload_1")
    assert store.uploads.ended_with_parts() == []
    assert len(store.uploads.parts("upload_2")) == 2
