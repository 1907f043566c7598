"""Every setting, read once and frozen.

One TOML file, then environment variables, then flags: the later wins. Unknown keys are refused with the
nearest right name. Secrets are never written down in the clear: a value of `env:NAME` or `file:PATH` says
where to find it. Nothing else in the package reads the environment or a configuration file.
"""

from bulkrate.config.loading import load
from bulkrate.config.reveal import revealed_key
from bulkrate.config.settings import Limits, Settings, Timing, Upstream, shown_url
from bulkrate.config.vendor import vendor_of
from bulkrate.core.retry import Retry

__all__ = [
    "Limits",
    "Retry",
    "Settings",
    "Timing",
    "Upstream",
    "load",
    "revealed_key",
    "shown_url",
    "vendor_of",
]
