"""The models that can be asked for."""

from __future__ import annotations

import msgspec

from bulkrate.core.models import Catalogue, is_served, served_names
from bulkrate.engine.context import Context
from bulkrate.errors import NotFound
from bulkrate.wire.models import Model, ModelList


class Models:
    """The union of what the upstreams serve, under every name a caller may use."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def all(self) -> ModelList:
        """Every name that can stand in a line."""
        return ModelList(data=[Model(id=name) for name in served_names(await self._catalogues())])

    async def get(self, model_id: str) -> Model:
        """One model. Raises `NotFound` when no upstream serves it."""
        known = [catalogue for catalogue in await self._catalogues() if catalogue.models is not None]
        if not is_served(known, model_id):
            raise NotFound(f"The model '{model_id}' does not exist.", code="model_not_found", param="model")
        return Model(id=model_id)

    async def _catalogues(self) -> list[Catalogue]:
        rows = await self._context.ask(self._context.store.upstreams.all)
        discovered = {row.name: msgspec.json.decode(row.models, type=list[str]) for row in rows if row.models}
        return [
            Catalogue(
                tuple(names) if (names := upstream.models or discovered.get(name)) is not None else None,
                upstream.aliases,
            )
            for name, upstream in self._context.settings.upstreams.items()
        ]
