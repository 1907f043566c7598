"""Which upstream serves a model, and under what name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

ANY = "*"


# Names that were looked up are remembered up to so many.
_FOUND_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What one upstream serves. `models` None: not known yet. Names may be shell patterns."""

    models: tuple[str, ...] | None
    aliases: Mapping[str, str]
    _found: dict[str, str | None] = field(default_factory=dict, compare=False, repr=False)

    def name_for(self, model: str) -> str | None:
        """What to call `model` at this upstream; None when it does not serve it, or that is not known yet.

        A line without a model is served by anyone. Ollama lists `llama3:latest` and takes `llama3`.
        """
        try:
            return self._found[model]
        except KeyError:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            name = self._found[model] = self._look_up(model)
            return name

    def _look_up(self, model: str) -> str | None:
        if model in self.aliases:
            return self.aliases[model]
        if self.models is None:
            return None
        if not model or model in self.models or f"{model}:latest" in self.models:
            return model
        if any(fnmatchcase(model, pattern) for pattern in self.models if _is_pattern(pattern)):
            return model
        return None


def is_served(catalogues: Iterable[Catalogue], model: str) -> bool:
    """Whether lines for `model` may be accepted.

    While one upstream has not yet told what it serves, every model may turn out to be served.
    """
    return any(c.models is None or c.name_for(model) is not None for c in catalogues)


def served_names(catalogues: Iterable[Catalogue]) -> list[str]:
    """Every name a caller may use, sorted."""
    names: set[str] = set()
    for catalogue in catalogues:
        names.update(catalogue.aliases)
        names.update(name for name in catalogue.models or () if not _is_pattern(name))
    return sorted(names)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")
