"""Bytes: files, parts, plans and result logs. What they mean is known to the engine alone."""

from bulkrate.blobs.base import Blobs, Reader, Writer
from bulkrate.blobs.local import LocalBlobs

__all__ = ["Blobs", "LocalBlobs", "Reader", "Writer"]
