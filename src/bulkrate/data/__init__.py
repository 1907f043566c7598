"""Data that bulkrate is shipped with, as files beside this one; see NOTICE for whose they are.

`prices.json` is made by `bulkrate prices update --from WHEEL --to src/bulkrate/data/prices.json`, never by
hand.
"""

from __future__ import annotations

from importlib.resources import files


def prices() -> bytes:
    """The content of `prices.json`."""
    return files(__name__).joinpath("prices.json").read_bytes()
