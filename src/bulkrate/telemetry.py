"""What is reported: every log event by name.

Logs are one line an event, `key=value`, without prompts, answers or secrets.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

logger = logging.getLogger("bulkrate")

#: Every event and what it says. A test holds the documentation to this list.
EVENTS = {
    "server_ready": "The server answers requests.",
    "server_stopping": "The server was asked to stop.",
    "process_started": "A clerk or sender was started.",
    "process_not_started": "A clerk or sender could not be started; it is tried again.",
    "process_died": "A clerk or sender ended by itself; it is started again.",
    "sender_paused": "The sender cannot write its results; nothing is sent until it can.",
    "sender_resumed": "The sender can write again.",
    "clerk_paused": "The clerk cannot go on with a batch; it tries again.",
    "clerk_resumed": "The clerk goes on.",
    "clerk_tripped": "An unforeseen error keeps the clerk from a batch; it tries again.",
    "worker_fenced": "A worker found that it was declared dead, and ends.",
    "worker_buried": "A worker's lease lapsed; its shards are free.",
    "batch_ended": "A batch reached a terminal status.",
    "batch_deadline": "A batch's window closed.",
    "shard_unreadable": "A shard's plan or input is gone.",
    "upstream_out": "An upstream cannot be used; lines wait.",
    "upstream_back": "An upstream can be used again.",
    "webhook_abandoned": "A webhook event was given up after 72 hours.",
}


def log_event(level: int, event: str, **fields: Any) -> None:
    """Report one of `EVENTS`."""
    logger.log(level, "%s %s", event, " ".join(f"{key}={_quoted(value)}" for key, value in fields.items()))


def log_to_stderr(role: str) -> None:
    """Write the log of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {role} %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _quoted(value: Any) -> str:
    text = str(value)
    # In quotes, and with escapes, whatever could end the line or be taken for another key.
    plain = text.isprintable() and text and not any(sign in text for sign in ' "=\\')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())
