"""Prices where they are kept: the list that bulkrate is shipped with, and a newer one in the user's cache.

What a price is and what follows from it is decided in `core.money`; here files are read and written, and one
is fetched when somebody asks for it. Loading a price book never touches the network.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from bulkrate import data
from bulkrate.core.money.litellm import distil
from bulkrate.core.money.overrides import read_discount, read_overrides
from bulkrate.core.money.price import Price
from bulkrate.core.money.pricelist import Changes, PriceList, PricesUnfit, check_successor, decoded, encoded
from bulkrate.core.money.quote import price_of
from bulkrate.errors import ServerUnreachable

#: Where litellm's file is published.
SOURCE_URL = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
_FETCH_TIMEOUT_S = 60.0
# Ten times what it is today.
_ORIGINAL_BYTES_MAX = 32 * 1024**2
_IN_WHEEL = re.compile(r"litellm/model_prices_and_context_window(?:_backup)?\.json")
_OF_WHEEL = re.compile(r"litellm-([\w.]+)-.*\.whl")


class PriceBook:
    """What models cost, with the user's own prices in place of the published ones."""

    def __init__(
        self,
        prices: PriceList,
        *,
        overrides: Mapping[str, Mapping[str, object]] | None = None,
        discounts: Mapping[str, object] | None = None,
    ) -> None:
        """`overrides`: dollars per million tokens by model, with the fields of `core.money`'s `Override`;
        `discounts`: `batch_discount` by the URL of an upstream. Raises `ConfigError`.
        """
        self.prices = prices
        self._overrides = read_overrides(overrides or {})
        self._discounts: dict[str, Decimal] = {
            _plain(url): read_discount(share, f"upstream {url}") for url, share in (discounts or {}).items()
        }
        self._found: dict[tuple[str, str | None], Price] = {}

    @classmethod
    def load(
        cls,
        *,
        overrides: Mapping[str, Mapping[str, object]] | None = None,
        discounts: Mapping[str, object] | None = None,
    ) -> PriceBook:
        """The newer of the shipped and the refreshed list. Raises `ConfigError` for wrong overrides."""
        return cls(newest(), overrides=overrides, discounts=discounts)

    def names(self) -> list[str]:
        """Every model with a listed price or one of the user's, sorted."""
        return sorted(self.prices.models.keys() | self._overrides.keys())

    def price(self, model: str, upstream_url: str | None = None) -> Price:
        """What `model` costs at the upstream, by the rules of `core.money.quote.price_of`."""
        if (model, upstream_url) not in self._found:
            self._found[model, upstream_url] = price_of(
                model,
                self.prices,
                upstream_url=upstream_url,
                overrides=self._overrides,
                batch_discount=self._discounts.get(_plain(upstream_url)) if upstream_url else None,
            )
        return self._found[model, upstream_url]


def _plain(url: str) -> str:
    return url.rstrip("/")


def shipped() -> PriceList:
    """The list of this release."""
    return decoded(data.prices(), "the price list of this release")


def refreshed() -> PriceList | None:
    """The list that `update` wrote; None without one, or when it cannot be read."""
    path = cache_path()
    try:
        return decoded(path.read_bytes(), str(path))
    except (OSError, PricesUnfit):
        return None


def newest() -> PriceList:
    """The newer of both lists; of the same day, the one that somebody asked for."""
    ours, theirs = shipped(), refreshed()
    return theirs if theirs is not None and theirs.head.date >= ours.head.date else ours


def cache_path() -> Path:
    """Where the refreshed list is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bulkrate" / "prices.json"


def update(origin: str | None, to: Path | None = None) -> tuple[PriceList, Changes, Path]:
    """Make a new list of litellm's file, and write it to `to`, or into the cache.

    `origin` is the file, litellm's wheel with the file in it, or a URL of it; None is where litellm publishes
    it. Returns the list, what it changes, and where it is. Raises `ServerUnreachable` when it cannot be
    had and `PricesUnfit` when it is not plausible; nothing is written then.
    """
    where = origin or SOURCE_URL
    original, source, day = _fetched(where) if re.match(r"https?://", where) else _read(Path(where))
    new = distil(original, source=source, date=day.isoformat())
    found = check_successor(newest(), new)
    path = to or cache_path()
    _write(path, encoded(new))
    return new, found, path


def _read(path: Path) -> tuple[bytes, str, date]:
    """A file's content, what to call it, and its day: today, since files keep no date of their prices."""
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise PricesUnfit(f"{path} cannot be read: {cause.strerror}") from cause
    today = datetime.now(UTC).date()
    if path.suffix != ".whl":
        return content, path.name, today
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            name = next((name for name in wheel.namelist() if _IN_WHEEL.fullmatch(name)), None)
            if name is None:
                raise PricesUnfit(f"{path} is a wheel without litellm's file of models")
            version = _OF_WHEEL.fullmatch(path.name)
            return wheel.read(name), f"litellm {version[1]}" if version else path.name, today
    except zipfile.BadZipFile as cause:
        raise PricesUnfit(f"{path} is no wheel: {cause}") from cause


def _fetched(url: str) -> tuple[bytes, str, date]:
    """The same of a URL; the server may know the day better."""
    # They take longer to load than all the rest, and almost nobody fetches.
    import http.client  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    try:
        with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT_S) as answer:  # noqa: S310
            content: bytes = answer.read(_ORIGINAL_BYTES_MAX + 1)
            changed = answer.headers.get("last-modified")
    except urllib.error.HTTPError as cause:
        cause.close()
        raise ServerUnreachable(f"{url} answers {cause.code}") from cause
    except (OSError, http.client.HTTPException) as cause:
        why = getattr(cause, "reason", cause)
        raise ServerUnreachable(
            f"{url} cannot be reached: {why}; get litellm's wheel or file another way and give it by --from"
        ) from cause
    if len(content) > _ORIGINAL_BYTES_MAX:
        raise PricesUnfit(f"{url} sends more than {_ORIGINAL_BYTES_MAX} bytes; that is not litellm's file")
    return content, url, _day(changed)


def _day(changed: Any) -> date:
    try:
        return parsedate_to_datetime(changed).date()
    except (TypeError, ValueError):
        return datetime.now(UTC).date()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as cause:
        raise PricesUnfit(f"{path} cannot be written: {cause.strerror}") from cause
