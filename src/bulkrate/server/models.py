"""Routes of models."""

from __future__ import annotations

from bulkrate.server.operations import Call
from bulkrate.wire.models import Model, ModelList


async def listing(call: Call) -> ModelList:
    return await call.engine.models.all()


async def get(call: Call) -> Model:
    return await call.engine.models.get(call.path["model"])
