"""Each vendor with its double."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bulkrate.providers.batch.anthropic import AnthropicBatch
from bulkrate.providers.batch.base import Vendor
from bulkrate.providers.batch.gemini import GeminiBatch
from bulkrate.providers.batch.mistral import MistralBatch
from bulkrate.providers.batch.openai import OpenAIBatch
from bulkrate.testing.providers import (
    AnthropicDouble,
    Double,
    GeminiDouble,
    MistralDouble,
    OpenAIProxy,
    serving,
)
from tests.providers.batch.hand import Hand
from tests.testing.conftest import Running

MODELS = {
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
    "mistral": "mistral-small-latest",
    "openai": "any-model",
}


@dataclass
class Place:
    """A vendor, a hand that speaks for it, and the double it speaks to."""

    name: str
    hand: Hand
    double: Running

    @property
    def vendor(self) -> Vendor:
        return self.hand.vendor

    @property
    def model(self) -> str:
        return MODELS[self.name]

    @property
    def unknown(self) -> str:
        """The id of a batch that is not there."""
        return "batches/x" if self.name == "gemini" else "x"

    def chats(self, count: int) -> list[dict[str, Any]]:
        """So many chat bodies, each with words of its own."""
        return [
            {"model": self.model, "messages": [{"role": "user", "content": f"question {number}"}]}
            for number in range(count)
        ]


def _place(name: str, vendor: Vendor, double: Double, tail: str = "") -> Iterator[Place]:
    with serving(double) as url:
        yield Place(name, Hand(vendor, url + tail), Running(double, url))


@pytest.fixture(params=["anthropic", "gemini", "mistral", pytest.param("openai", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Every vendor in turn; OpenAI's wire is spoken by a real server behind a proxy."""
    match request.param:
        case "anthropic":
            yield from _place("anthropic", AnthropicBatch(), AnthropicDouble())
        case "gemini":
            yield from _place("gemini", GeminiBatch(), GeminiDouble())
        case "mistral":
            yield from _place("mistral", MistralBatch(), MistralDouble())
        case "openai":
            server = request.getfixturevalue("server")
            yield from _place("openai", OpenAIBatch("openai"), OpenAIProxy(server.url), "/v1")
