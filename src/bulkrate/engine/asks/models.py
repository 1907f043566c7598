"""The models that can be asked for."""

from __future__ import annotations

import asyncio

import msgspec

from bulkrate.core.models import Catalogue, is_served, served_names
from bulkrate.engine.context import Context
from bulkrate.errors import NotFound
from bulkrate.wire.models import Model, ModelList

# How long a question waits for the first word of the upstreams, right after the start of the server.
_FIRST_WORD_S = 3.0


class Models:
    """The union of what the upstreams serve, under every name a caller may use."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def all(self) -> ModelList:
        """Every name that can stand in a line."""
        return ModelList(data=[Model(id=name) for name in served_names(await catalogues_of(self._context))])

    async def get(self, model_id: str) -> Model:
        """One model. Raises `NotFound` when no upstream serves it."""
        known = [
            catalogue for catalogue in await catalogues_of(self._context) if catalogue.models is not None
        ]
        if not is_served(known, model_id):
            raise NotFound(f"The model '{model_id}' does not exist.", code="model_not_found", param="model")
        return Model(id=model_id)


async def catalogues_of(context: Context) -> list[Catalogue]:
    """What the upstreams serve, as far as the sender knows; right after the start, waits for its word."""
    deadline = context.clock() + _FIRST_WORD_S
    while True:
        told = {row.name: row for row in await context.ask(context.store.upstreams.all)}
        if all(name in told for name in context.settings.upstreams) or context.clock() > deadline:
            break
        await asyncio.sleep(0.02)
    catalogues = []
    for name, upstream in context.settings.upstreams.items():
        models = upstream.models
        if models is None and name in told and (raw := told[name].models) is not None:
            models = msgspec.json.decode(raw, type=list[str])
        catalogues.append(Catalogue(None if models is None else tuple(models), upstream.aliases))
    return catalogues
