"""Watching one upstream from the side: is it there, what does it serve, how busy is its engine?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from bulkrate.core.outcome import Failed
from bulkrate.dispatch.client import Client
from bulkrate.dispatch.http import AttemptError
from bulkrate.providers.engines import EngineLoad

# How often an engine's load is read while lines are in flight, and how often a server without one is asked
# again.
_LOAD_S = 1.0
_LOAD_ABSENT_S = 15.0


class Watch:
    """Asks for the model list when told to, and for the engine's load every second while `is_busy`.

    `on_models` takes the list (None: the server has none), `on_trouble` why it could not be had, and
    `on_load` the load (None: it can be had no more). Each look ends with `on_looked`.
    """

    def __init__(
        self,
        client: Client,
        *,
        is_busy: Callable[[], bool],
        on_models: Callable[[list[str] | None], None],
        on_trouble: Callable[[Failed], None],
        on_looked: Callable[[], None],
        on_load: Callable[[EngineLoad | None], None],
    ) -> None:
        self._client = client
        self._is_busy = is_busy
        self._on_models = on_models
        self._on_trouble = on_trouble
        self._on_looked = on_looked
        self._on_load = on_load
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[None] | None = None
        self._stopped = False

    async def look(self, *, anew: bool = False) -> None:
        """Ask for the model list now, or wait for the answer to a question under way unless it is to be
        `anew`.
        """
        while self._looking is not None:
            await asyncio.shield(self._looking)
            if not anew:
                return
        self._looking = self._loop.create_future()
        try:
            self._on_models(await self._client.models())
        except AttemptError as error:
            self._on_trouble(error.failed)
        finally:
            self._looking.set_result(None)
            self._looking = None
        self._on_looked()

    def look_in(self, delay_s: float, look: Callable[[], None]) -> None:
        """Call `look` after `delay_s`, instead of whenever it was to be called."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._stopped:
            self._timer = self._loop.call_later(delay_s, look)

    async def read_loads(self) -> None:
        """Read the engine's load as long as it lasts."""
        seen = False
        while True:
            if self._is_busy() or not seen:
                load = await self._client.load()
                if load is not None or seen:
                    self._on_load(load)
                seen = seen or load is not None
            await asyncio.sleep((_LOAD_S if seen else _LOAD_ABSENT_S) * (0.9 + random.random() / 5))  # noqa: S311

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
