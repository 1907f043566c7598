"""What is known of the upstreams: what each serves, and why it is out, if it is.

The senders leave their notes in the store; what is configured counts before them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from bulkrate.core.models import Catalogue
from bulkrate.engine.context import Context

# How long a question waits for the first word of the upstreams, right after the start of the server.
_FIRST_WORD_S = 3.0
_FIRST_WORD_LOOK_S = 0.02
_names = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True)
class KnownUpstream:
    """An upstream. `told` is False while no sender has said a word about it.

    A `delegated` one answers groups of lines, hours later.
    """

    name: str
    catalogue: Catalogue
    paused: str | None
    told: bool
    delegated: bool = False
    key_refused: bool = False


def known_upstreams(context: Context) -> list[KnownUpstream]:
    """All configured upstreams, in their order."""
    notes = {row.name: row for row in context.store.upstreams.all()}
    found = []
    for name, upstream in context.settings.upstreams.items():
        note = notes.get(name)
        models = upstream.models
        if models is None and note is not None and note.models is not None:
            models = _names.decode(note.models)
        catalogue = Catalogue(None if models is None else tuple(models), upstream.aliases)
        found.append(
            KnownUpstream(
                name,
                catalogue,
                paused=note.paused if note else None,
                told=note is not None,
                delegated=upstream.delegated,
                key_refused=note is not None and note.key_refused,
            )
        )
    return found


async def catalogues_of(context: Context) -> list[Catalogue]:
    """What the upstreams serve; right after the start, waits for their first word."""
    deadline = context.clock() + _FIRST_WORD_S
    while True:
        upstreams = await context.ask(known_upstreams, context)
        if all(upstream.told for upstream in upstreams) or context.clock() > deadline:
            return [upstream.catalogue for upstream in upstreams]
        await asyncio.sleep(_FIRST_WORD_LOOK_S)
