"""Doubles to be driven by their vendors' own SDKs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pyreqwest.client import SyncClientBuilder

from bulkrate.testing.providers import AnthropicDouble, Double, GeminiDouble, MistralDouble, serving


@dataclass
class Running:
    """A double that is being served."""

    double: Double
    url: str

    def tell(self, what: str, **body: Any) -> Any:
        """Use the control endpoint."""
        with SyncClientBuilder().build() as http:
            request = http.post(f"{self.url}/double/{what}").body_bytes(msgspec.json.encode(body)).build()
            response = request.send()
            assert response.status == 200, response.text()
            return response.json()

    def books(self) -> Any:
        """What it was asked to do."""
        return self.tell("books")


def _running(double: Double) -> Iterator[Running]:
    with serving(double) as url:
        yield Running(double, url)


@pytest.fixture
def anthropic() -> Iterator[Running]:
    yield from _running(AnthropicDouble())


@pytest.fixture
def gemini() -> Iterator[Running]:
    yield from _running(GeminiDouble())


@pytest.fixture
def mistral() -> Iterator[Running]:
    yield from _running(MistralDouble())
