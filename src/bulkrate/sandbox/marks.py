"""The marks by which every answer can be told from a model's: one header, and one place in every body.

They never depend on the request or on the options; there is no way to switch them off.
"""

from typing import Final

FINGERPRINT: Final = "bulkrate-sandbox"
"""In `system_fingerprint`, where the endpoint has one; in `owned_by` of models."""

NOTICE: Final = "bulkrate-sandbox: no model made this answer"
"""In an extra field `sandbox`, where the endpoint has no better place."""

HEADER: Final = ("x-bulkrate-sandbox", "true")

CREATED: Final = 1_767_225_600
"""2026-01-01: `created` of every answer, because the same request gets the same answer."""
