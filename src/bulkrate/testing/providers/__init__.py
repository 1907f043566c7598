"""Doubles of providers of batches: each behaves as its vendor documents, goes wrong on request, and keeps
books.

    python -m bulkrate.testing.providers anthropic --port 9200

They compute nothing: an answer is made from a hash of the request. `faults.py` says what can go wrong,
`double.py` how that is asked for. OpenAI's wire has no double: `openai.py` and `azure.py` stand in front of a
real server and spoil what comes out of it.
"""

from bulkrate.testing.providers.anthropic import AnthropicDouble
from bulkrate.testing.providers.azure import AzureProxy
from bulkrate.testing.providers.double import Double
from bulkrate.testing.providers.faults import Faults
from bulkrate.testing.providers.gemini import GeminiDouble
from bulkrate.testing.providers.mistral import MistralDouble
from bulkrate.testing.providers.openai import OpenAIProxy
from bulkrate.testing.providers.serving import serve, serving

__all__ = [
    "AnthropicDouble",
    "AzureProxy",
    "Double",
    "Faults",
    "GeminiDouble",
    "MistralDouble",
    "OpenAIProxy",
    "serve",
    "serving",
]
