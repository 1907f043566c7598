"""The models that can be asked for."""

from __future__ import annotations

from bulkrate.core.models import is_served, served_names
from bulkrate.engine.context import Context
from bulkrate.engine.upstreams import catalogues_of
from bulkrate.errors import NotFound
from bulkrate.wire.models import Model, ModelList


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
