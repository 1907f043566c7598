"""The tables.

A row per file, batch, shard, range and commit extent; never a row per line. Times are Unix seconds: whole
ones where the API shows them, fractions where only we use them. `CHECK`s repeat what `core.lifecycle` says,
so that a hand-made UPDATE cannot break it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from bulkrate.core.lifecycle import Status

metadata = MetaData()

#: Raised by one whenever a table changes shape; a store of another version is refused, not guessed at.
SCHEMA_VERSION = 6

_STATUSES = ", ".join(f"'{status}'" for status in Status)


def _sequence() -> Column[int]:
    """The order of creation, finer than a second, and the cursor of lists."""
    return Column("seq", Integer, primary_key=True, autoincrement=True)


about = Table("about", metadata, Column("schema_version", Integer, nullable=False))

files = Table(
    "files",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # Where the bytes are: a blob of our own, or a stream ("output", "errors") of a batch's committed log.
    Column("blob", String),
    Column("batch_id", String),
    Column("stream", String),
    # A deleted file is gone for its owner; its bytes stay while a batch still reads them.
    Column("deleted_at", BigInteger),
    # The row stays when the bytes are gone: a caller may be paging behind it.
    Column("purged", Boolean, nullable=False, default=False),
    Index("files_of_project", "project", "seq"),
    Index("files_expiring", "expires_at"),
    CheckConstraint("(blob IS NULL) = (stream IS NOT NULL)", name="a_file_has_one_place"),
)

uploads = Table(
    "uploads",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("status", String, nullable=False),
    Column("file_id", String),
    Column("expires_after_s", BigInteger),
    Index("uploads_pending", "status", "expires_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("id", String, primary_key=True),
    Column("upload_id", String, nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("blob", String, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("input_file_id", String, nullable=False),
    Column("completion_window", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    Column("model", Text),
    Column("metadata", LargeBinary),
    Column("output_expires_after_s", BigInteger),
    Column("output_file_id", String),
    Column("error_file_id", String),
    Column("on_invalid_line", String, nullable=False),
    # A retry belongs to the family of the first batch; no two of a family run at once.
    Column("retry_of", String),
    Column("family", String, nullable=False),
    Column("idempotency_key", String),
    Column("idempotency_digest", String),
    # All faults of a rejected batch, up to some megabytes, and the first of them, for lists.
    Column("faults", LargeBinary),
    Column("first_faults", LargeBinary),
    # Whether every line is known: its shards are written, its bad lines are told.
    Column("planned", Boolean, nullable=False, default=False),
    Column("total", BigInteger, nullable=False, default=0),
    Column("completed", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("input_tokens", BigInteger, nullable=False, default=0),
    Column("cached_tokens", BigInteger, nullable=False, default=0),
    Column("output_tokens", BigInteger, nullable=False, default=0),
    Column("reasoning_tokens", BigInteger, nullable=False, default=0),
    Column("total_tokens", BigInteger, nullable=False, default=0),
    Index("batches_of_project", "project", "seq"),
    Index("batches_by_status", "status", "expires_at"),
    Index("batches_of_family", "family"),
    Index("batches_of_input", "input_file_id"),
    UniqueConstraint("project", "idempotency_key", name="an_idempotency_key_is_used_once"),
    CheckConstraint(f"status IN ({_STATUSES})", name="a_status_is_one_of_eight"),
    CheckConstraint("completed + failed <= total", name="no_line_counts_twice"),
)

# The lines of one batch that ask for one model. Workers take them from the front, a range at a time.
shards = Table(
    "shards",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("plan", String, nullable=False),
    Column("lines", BigInteger, nullable=False),
    # Whether some of its lines had their outcome when it was admitted: a range of it may hold such lines.
    Column("struck", Boolean, nullable=False, default=False),
    # How many of its lines have been handed out; what came back unfinished is a range without an epoch.
    Column("taken", BigInteger, nullable=False, default=0),
    # Everything is taken and no range is open: every line has its outcome.
    Column("done", Boolean, nullable=False, default=False),
    Index("shards_open", "done", "model"),
    # Whether a batch has open shards is asked of every live batch at once.
    Index("shards_of_batch", "batch_id", "done"),
    CheckConstraint("taken <= lines", name="no_line_is_taken_twice"),
)

# Lines that are handed out and do not all have an outcome: so many places of a plan, from `start` on.
ranges = Table(
    "ranges",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("lines", BigInteger, nullable=False),
    # The worker that holds it; null when the one that held it died or let go. Below zero: a remote batch
    # holds it, whose `seq` this is without the sign, and no worker's death frees it.
    Column("epoch", BigInteger),
    # How many remote batches its lines have been part of. Online attempts are counted elsewhere.
    Column("generation", Integer, nullable=False, default=0),
    # How many remote batches with its lines failed at validation, for other lines' faults.
    Column("rejections", Integer, nullable=False, default=0),
    # Its lines were under way at an upstream that died and did not come back: one of them may have killed it.
    Column("suspect", Boolean, nullable=False, default=False),
    Index("ranges_of_epoch", "epoch"),
)

# A group of lines at a provider's batch API: one row for each batch there that was meant to be created. What
# was meant, what was done, what the provider says and what was collected are separate facts, each written
# before the next step: whoever comes after a death finds out from them where to go on. Rows stay, for the
# bill.
remotes = Table(
    "remotes",
    metadata,
    _sequence(),
    # Ours, by which the batch is known at the provider.
    Column("id", String, nullable=False, unique=True),
    Column("upstream", String, nullable=False),
    Column("batch_id", String, nullable=False, index=True),
    Column("shard", Integer, nullable=False),
    # The model as the lines name it, and as the provider does.
    Column("model", Text, nullable=False),
    Column("sent_as", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("rejections", Integer, nullable=False, default=0),
    # The content, where it lies until it is collected, and what it amounts to.
    Column("content", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("intended_at", Float, nullable=False),
    # Asked: the call may have been heard, whatever we heard of it.
    Column("upload_asked_at", Float),
    Column("file_id", String),
    Column("create_asked_at", Float),
    Column("remote_id", String),
    Column("created_at", Float),
    # What the provider said last: its state in our words, and its counts.
    Column("state", String),
    Column("completed", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("look_at", Float, nullable=False, default=0.0),
    Column("cancel_asked_at", Float),
    # Everything that can be read of it counts, and it holds no range any more; nothing is left there.
    Column("collected_at", Float),
    Column("removed_at", Float),
    # Why it does not move.
    Column("waiting", Text),
    Index("remotes_open", "removed_at", "upstream"),
    Index("remotes_by_remote_id", "remote_id"),
)

# What was bought from providers' batch APIs, for a bill that prices it apart: of each batch, upstream and
# model, the answered lines and their tokens. All else that a batch's own counts tell of was bought online.
purchases = Table(
    "purchases",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("upstream", String, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("lines", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
)

# What refusals taught of a provider's quotas, by the provider's name for the model: the tokens that may be
# enqueued and whether it said so itself, the lines of a batch, and when nothing more is to be tried before.
lessons = Table(
    "lessons",
    metadata,
    Column("upstream", String, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("tokens_max", BigInteger),
    Column("told", Boolean, nullable=False),
    Column("lines_max", BigInteger),
    Column("learnt_at", Float),
    Column("refusals", Integer, nullable=False),
    Column("not_before", Float, nullable=False),
)

# How a batch moves at one worker. Nobody's row outlives the worker.
progress = Table(
    "progress",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("in_flight", Integer, nullable=False),
    Column("lines_per_s", Float, nullable=False),
    Column("waiting", Text),
)

# What counts of the result logs. Of each worker the newest extent of a batch is open: it grows with the next
# commit, even if another worker has begun one after it. Whoever reads a running batch reads up to and
# including the first open one, and so sees a stream that only ever grows at its end.
extents = Table(
    "extents",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("output_start", BigInteger, nullable=False),
    Column("output_end", BigInteger, nullable=False),
    Column("errors_start", BigInteger, nullable=False),
    Column("errors_end", BigInteger, nullable=False),
    Column("ledger_start", BigInteger, nullable=False),
    Column("ledger_end", BigInteger, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("open", Boolean, nullable=False),
    Index("extents_open", "open", "epoch"),
)

# Whoever writes results: one row per incarnation. A dead or late one is fenced by `alive`.
workers = Table(
    "workers",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=True),
    Column("role", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("alive", Boolean, nullable=False),
    Index("workers_alive", "alive"),
    sqlite_autoincrement=True,
)

# What the senders know of their upstreams, for validation, the model list and /health.
upstreams = Table(
    "upstreams",
    metadata,
    Column("name", String, primary_key=True),
    Column("models", LargeBinary),
    Column("paused", Text),
    Column("key_refused", Boolean, nullable=False),
    Column("seen_at", Float, nullable=False),
)

# Which worker drives which upstream: one at a time, and no row for one that nobody drives.
upstream_holders = Table(
    "upstream_holders",
    metadata,
    Column("name", String, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

# How many lines in flight an upstream was last seen to do well with, by model. A restart begins there.
windows = Table(
    "windows",
    metadata,
    Column("upstream", String, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("in_flight", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

webhooks = Table(
    "webhooks",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", LargeBinary, nullable=False),
    Column("secret", String, nullable=False),
    Column("old_secret", String),
    Column("old_secret_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("webhooks_of_project", "project", "seq"),
)

# The outbox: written in the transaction that ends a batch, emptied by **notify**.
deliveries = Table(
    "deliveries",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("webhook_id", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("batch_id", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float),
    Column("delivered_at", BigInteger),
    Column("last_status_code", Integer),
    Column("last_error", Text),
    Index("deliveries_due", "status", "next_attempt_at"),
    Index("deliveries_of_webhook", "webhook_id", "seq"),
)
