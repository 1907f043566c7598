"""Files and uploads.

Field by field after OpenAI's OpenAPI document. `status` of a file is deprecated there but still polled by
`files.wait_for_processing` of the SDKs and by several clients, so it is always `processed`.
"""

from __future__ import annotations

from typing import Literal

from bulkrate.wire.base import Ask, Shape

#: What a caller may upload for. `batch_output` is made by the server alone.
UPLOAD_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")

EXPIRES_AFTER_S_MIN = 3_600
EXPIRES_AFTER_S_MAX = 2_592_000


class File(Shape, frozen=True, kw_only=True):
    """A stored file. Times are Unix seconds."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None = None
    status: str = "processed"
    status_details: str | None = None
    object: str = "file"


class FileDeleted(Shape, frozen=True, kw_only=True):
    """The answer to a delete."""

    id: str
    deleted: bool = True
    object: str = "file"


class ExpiresAfter(Ask, frozen=True, kw_only=True):
    """When a file goes away by itself: `seconds` after its creation, one hour to thirty days."""

    anchor: Literal["created_at"]
    seconds: int


class CreateUpload(Ask, frozen=True, kw_only=True):
    """Begin a file that is sent in parts."""

    filename: str
    purpose: str
    bytes: int
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Ask, frozen=True, kw_only=True):
    """Join the parts, in this order. `md5` is the hex digest of the whole file."""

    part_ids: list[str]
    md5: str | None = None


class Upload(Shape, frozen=True, kw_only=True):
    """A file on its way in parts."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: File | None = None
    object: str = "upload"


class UploadPart(Shape, frozen=True, kw_only=True):
    """One part of an upload, at most 64 MiB."""

    id: str
    created_at: int
    upload_id: str
    object: str = "upload.part"
