"""Records: what is known of files, batches and work, and nothing of their bytes.

Methods are the domain's verbs. They are synchronous and short; whoever must not wait calls them in a thread.
"""

from __future__ import annotations

from pathlib import Path

from bulkrate.store.batches import BatchStore
from bulkrate.store.census import Census
from bulkrate.store.database import Database
from bulkrate.store.files import FileStore
from bulkrate.store.keys import KeyStore
from bulkrate.store.remote import RemoteStore
from bulkrate.store.uploads import UploadStore
from bulkrate.store.upstreams import UpstreamStore
from bulkrate.store.webhooks import WebhookStore
from bulkrate.store.work import WorkStore

__all__ = ["Store"]


class Store:
    """All records, over one database at `path`. Raises `StoreError` when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.files = FileStore(self._database)
        self.uploads = UploadStore(self._database)
        self.batches = BatchStore(self._database)
        self.work = WorkStore(self._database)
        self.census = Census(self._database)
        self.upstreams = UpstreamStore(self._database)
        self.remotes = RemoteStore(self._database)
        self.keys = KeyStore(self._database)
        self.webhooks = WebhookStore(self._database)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
