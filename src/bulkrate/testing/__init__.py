"""For whoever writes or tries what stands around bulkrate: suites for backends, and doubles of providers.

A backend that passes its suite is one. The suites need pytest, the doubles (`providers/`) do not.
"""

from contextlib import suppress

with suppress(ImportError):
    import pytest

    pytest.register_assert_rewrite("bulkrate.testing.blobs")
