"""Which vendor an upstream's settings mean."""

from __future__ import annotations

from urllib.parse import urlsplit

from bulkrate.errors import ConfigError
from bulkrate.providers.batch.anthropic import MAX_TOKENS, VERSION, AnthropicBatch
from bulkrate.providers.batch.base import Vendor
from bulkrate.providers.batch.gemini import VERSION as GEMINI_VERSION
from bulkrate.providers.batch.gemini import GeminiBatch
from bulkrate.providers.batch.mistral import MistralBatch
from bulkrate.providers.batch.openai import DIALECTS, OpenAIBatch

#: The kinds of delegated upstreams.
KINDS = ("openai-batch", "anthropic-batch", "gemini-batch", "mistral-batch")

# Which kinds have a use for a setting.
_TAKEN_BY = {
    "provider": ("openai-batch",),
    "max_tokens": ("anthropic-batch",),
    "api_version": ("anthropic-batch", "gemini-batch"),
    "window": ("openai-batch", "mistral-batch"),
}

# Whose API a host is, so that nobody needs to say it.
_HOSTS = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "api.groq.com": "groq",
    "api.deepinfra.com": "deepinfra",
    "aliyuncs.com": "alibaba",
    "api.doubleword.ai": "doubleword",
}


def vendor_for(
    kind: str,
    *,
    provider: str | None = None,
    url: str | None = None,
    max_tokens: int | None = None,
    version: str | None = None,
    window: str | None = None,
) -> Vendor:
    """The vendor of an upstream of `kind`.

    `provider` is for `openai-batch`: one of its dialects; without it the URL's host tells, and a host that
    nobody knows is taken to speak as OpenAI does. `max_tokens` is for Anthropic: the limit for lines that say
    none. `version` is that of Anthropic's or Gemini's API; `window` is for those who let one choose. Raises
    `ConfigError`, also for a setting that the kind has no use for.
    """
    given = {"provider": provider, "max_tokens": max_tokens, "api_version": version, "window": window}
    for name, value in given.items():
        if value is not None and kind in KINDS and kind not in _TAKEN_BY[name]:
            raise ConfigError(f"{name} means nothing to {kind}; it is for {' and '.join(_TAKEN_BY[name])}")
    if kind == "openai-batch":
        name = provider or provider_at(url)
        if name not in DIALECTS:
            known = ", ".join(DIALECTS)
            raise ConfigError(f"no provider {name!r} speaks OpenAI's Batch API; take one of {known}")
        return OpenAIBatch(name)
    if kind == "anthropic-batch":
        return AnthropicBatch(max_tokens=max_tokens or MAX_TOKENS, version=version or VERSION)
    if kind == "gemini-batch":
        return GeminiBatch(version=version or GEMINI_VERSION)
    if kind == "mistral-batch":
        return MistralBatch()
    raise ConfigError(f"no kind {kind!r} of delegated upstream; take one of {', '.join(KINDS)}")


def provider_at(url: str | None) -> str:
    """Whose OpenAI-like API is at `url`, by its host."""
    host = (urlsplit(url).hostname or "") if url else ""
    return next((name for end, name in _HOSTS.items() if host == end or host.endswith("." + end)), "openai")
