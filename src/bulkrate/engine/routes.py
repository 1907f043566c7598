"""Which lines are for delegated upstreams, and which for those that answer at once.

Both kinds of workers ask here, so that none takes what is the other's: the one price is twice the other.
"""

from __future__ import annotations

from collections.abc import Callable

from bulkrate.config import Settings, Upstream, vendor_of
from bulkrate.core.deadline import window_s
from bulkrate.core.delegation import Terms, is_delegated
from bulkrate.core.models import Catalogue
from bulkrate.engine.upstreams import KnownUpstream
from bulkrate.store.records import Offer


class Routes:
    """The rule, by the settings and by what is known of the upstreams now."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._delegated = {
            name: (
                Catalogue(tuple(upstream.models or ()), upstream.aliases),
                vendor_of(upstream),
                terms_of(upstream),
            )
            for name, upstream in settings.upstreams.items()
            if upstream.delegated
        }
        self._online: list[Catalogue] = []

    def update(self, known: list[KnownUpstream]) -> None:
        """What the upstreams serve now."""
        self._online = [upstream.catalogue for upstream in known if not upstream.delegated]

    def served_online(self, model: str) -> bool:
        """Whether an upstream that answers at once serves a model, as far as they have told."""
        return any(catalogue.name_for(model) is not None for catalogue in self._online)

    def is_online(self, offer: Offer) -> bool:
        """Whether the lines of a shard are for no delegated upstream."""
        return not any(self.goes_to(name, offer) for name in self._delegated)

    def goes_to(self, name: str, offer: Offer) -> bool:
        """Whether the lines of a shard are for this delegated upstream."""
        catalogue, vendor, terms = self._delegated[name]
        if catalogue.name_for(offer.shard.model) is None:
            return False
        served_online = self.served_online(offer.shard.model)
        if served_online and offer.endpoint not in vendor.endpoints:
            return False
        return is_delegated(
            terms,
            window_s=offer.window_s,
            served_online=served_online,
            now=self._clock(),
            expires_at=offer.expires_at,
        )


def terms_of(upstream: Upstream) -> Terms:
    """On what terms a delegated upstream takes lines."""
    return Terms(
        from_window_s=window_s(upstream.from_window) or 0,
        on_late=upstream.on_late,
        late_s=upstream.late_s,
    )
