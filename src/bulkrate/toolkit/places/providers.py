"""Providers by name: where their keys are kept, which models are theirs, and how they are reached.

Their own batch APIs are taken, at about half the price, unless the answers are wanted online.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: its kind of batch API, the environment variables of its key, its OpenAI-compatible URL,
    and patterns of its models' names.
    """

    kind: str
    keys: tuple[str, ...]
    online: str
    models: tuple[str, ...]

    def key(self, environ: Mapping[str, str]) -> str | None:
        """The name of the variable that holds the key, if there is one."""
        return next((name for name in self.keys if environ.get(name)), None)


#: In the order in which they are offered a model that two of them might have.
PROVIDERS = {
    "openai": Provider(
        kind="openai-batch",
        keys=("OPENAI_API_KEY",),
        online="https://api.openai.com/v1",
        models=(
            "gpt-*",
            "chatgpt-*",
            "o[1-9]*",
            "text-embedding-3-*",
            "text-embedding-ada-*",
            "omni-*",
            "ft:*",
        ),
    ),
    "anthropic": Provider(
        kind="anthropic-batch",
        keys=("ANTHROPIC_API_KEY",),
        online="https://api.anthropic.com/v1",
        models=("claude-*",),
    ),
    "gemini": Provider(
        kind="gemini-batch",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        online="https://generativelanguage.googleapis.com/v1beta/openai",
        models=("gemini-*", "gemma-*"),
    ),
    "mistral": Provider(
        kind="mistral-batch",
        keys=("MISTRAL_API_KEY",),
        online="https://api.mistral.ai/v1",
        models=(
            "mistral-*",
            "ministral-*",
            "magistral-*",
            "codestral-*",
            "devstral-*",
            "pixtral-*",
            "open-mi*",
        ),
    ),
}


def found(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The providers whose keys are in the environment."""
    return tuple(name for name, provider in PROVIDERS.items() if provider.key(environ))


def upstream_of(name: str, environ: Mapping[str, str], *, online: bool, alone: bool) -> dict[str, Any]:
    """The settings of a provider as an upstream; `alone` it is sent whatever model is named."""
    provider = PROVIDERS[name]
    key = provider.key(environ) or provider.keys[0]
    models = ["*"] if alone else list(provider.models)
    settings: dict[str, Any] = {"models": models, "key": f"env:{key}"}
    return settings | ({"url": provider.online} if online else {"kind": provider.kind})
