"""Who sells at an address, by what names they go, and what they take off in a batch.

Knows addresses by heart: looks none up.
"""

from __future__ import annotations

import ipaddress
from decimal import Decimal
from urllib.parse import urlsplit

#: What a batch costs at providers that sell every model in batches at one discount, as a share of the
#: standard price, and where they say so. Others do so for some models (Together, xAI, Vertex, Bedrock), or by
#: model and window (Doubleword): what is not published there stays unknown.
BATCH_SHARE = {
    "openai": (Decimal("0.5"), "developers.openai.com/api/docs/guides/batch"),
    "azure": (Decimal("0.5"), "learn.microsoft.com/azure/ai-foundry/openai/how-to/batch"),
    "anthropic": (Decimal("0.5"), "platform.claude.com/docs/en/build-with-claude/batch-processing"),
    "gemini": (Decimal("0.5"), "ai.google.dev/gemini-api/docs/batch-api"),
    "mistral": (Decimal("0.5"), "docs.mistral.ai/capabilities/batch"),
    "groq": (Decimal("0.5"), "console.groq.com/docs/batch"),
    "fireworks_ai": (Decimal("0.5"), "docs.fireworks.ai/guides/batch-inference"),
    "deepinfra": (Decimal("0.8"), "deepinfra.com/blog/batch-api"),
    "dashscope": (
        Decimal("0.5"),
        "alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai",
    ),
}

# Hosts, or the ends of their names, and litellm's names of the providers behind them.
_HOSTS = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "aiplatform.googleapis.com": "vertex_ai",
    "-aiplatform.googleapis.com": "vertex_ai",  # regions: us-east5-aiplatform…
    "amazonaws.com": "bedrock",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.deepinfra.com": "deepinfra",
    "api.x.ai": "xai",
    "api.deepseek.com": "deepseek",
    "openrouter.ai": "openrouter",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "api.sambanova.ai": "sambanova",
    "api.novita.ai": "novita",
    "nebius.com": "nebius",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.moonshot.ai": "moonshot",
    "api.z.ai": "zai",
    "api.voyageai.com": "voyage",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "dashscope.aliyuncs.com": "dashscope",
}
#: How else people call a provider.
ALIASES = {
    "azure_openai": "azure",
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "azure_text": "azure",
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "text-completion-openai": "openai",
    "together": "together_ai",
    "vertex": "vertex_ai",
}


def provider_at(url: str) -> str | None:
    """litellm's name of the provider at this address, None for one we do not know."""
    host = host_of(url)
    ends = ((end if end.startswith("-") else f".{end}", name) for end, name in _HOSTS.items())
    return next((name for end, name in ends if f".{host}".endswith(end)), None)


def is_private(url: str) -> bool:
    """Whether the address is this machine's or of a private network.

    Names other than localhost are not looked up: what they lead to is not known here.
    """
    host = host_of(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def host_of(url: str) -> str:
    """The host in an address; empty without one."""
    return (urlsplit(url).hostname or "").lower()


def family(provider: str) -> str:
    """The provider without its departments: `vertex_ai-anthropic_models` is `vertex_ai`."""
    name = ALIASES.get(provider, provider)
    return name.partition("-")[0] if name.startswith(("vertex_ai-", "fireworks_ai-")) else name
