"""Suites for whoever writes a backend of their own. A backend that passes its suite is one. Needs pytest."""

import pytest

pytest.register_assert_rewrite("bulkrate.testing.blobs")
