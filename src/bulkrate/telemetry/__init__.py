"""What is reported to whoever operates the server: events in the log, and traces.

Prompts, answers and keys are never among it.
"""

from __future__ import annotations

from bulkrate.telemetry.log import EVENTS, LogFormat, log_event, log_to_stderr, logger

__all__ = ["EVENTS", "LogFormat", "log_event", "log_to_stderr", "logger"]
