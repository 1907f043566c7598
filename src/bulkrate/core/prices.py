"""What a request costs: which price counts for a model, how sure it is, and the sum.

Every price carries a mark. What is not known stays unknown: it never becomes zero, nor the standard price.
Sums are made in whole pico-dollars and told in exact decimals. Looks nothing up outside its arguments.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from bulkrate.core.pricelist import PICO_PER_DOLLAR_A_MILLION, Entry, PriceList, Rates
from bulkrate.errors import ConfigError
from bulkrate.providers.usage import Usage

_CENT = Decimal("0.01")
STANDARD = "standard"
BATCH = "batch"
TIERS = (STANDARD, BATCH, "flex", "priority")
_NEAREST_MAX = 3
_YOURS = "your prices"


class Mark(StrEnum):
    """How a figure came to be, the surest first."""

    PUBLISHED = "published"  # the provider's own price, from the list
    GIVEN = "given"  # the user's own setting
    LOCAL = "local"  # an upstream at a private address that nobody charges for
    DERIVED = "derived"  # worked out by a rule, which the source names
    UNKNOWN = "unknown"

    @property
    def doubt(self) -> int:
        """0 for the surest."""
        return list(Mark).index(self)


class Cost(msgspec.Struct, frozen=True):
    """Dollars. None: unknown."""

    usd: Decimal | None
    mark: Mark
    source: str


class Band(msgspec.Struct, frozen=True):
    """The price of requests with more than `above` input tokens."""

    above: int
    rates: Rates
    mark: Mark
    source: str

    def pico(
        self, input_tokens: int, output_tokens: int, *, cached: int = 0, reasoning: int = 0
    ) -> int | None:
        """Pico-dollars; None where a rate that is needed is not known.

        `cached` are among the input tokens, `reasoning` among the output tokens. Where the provider tells no
        price of its own for them, they cost as much as the others.
        """
        rates = self.rates
        total = 0
        for tokens, rate in (
            (input_tokens - cached, rates.input),
            (cached, rates.input if rates.cached is None else rates.cached),
            (output_tokens - reasoning, rates.output),
            (reasoning, rates.output if rates.reasoning is None else rates.reasoning),
        ):
            if tokens > 0:
                if rate is None:
                    return None
                total += tokens * rate
        return total


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's price at an upstream.

    `key` is its name in the list, None when it is not there; `nearest` are names like it. `tiers` holds bands
    by rising `above`. `output_max` and `context` are limits in tokens.
    """

    model: str
    key: str | None = None
    provider: str | None = None
    mode: str | None = None
    context: int | None = None
    output_max: int | None = None
    tiers: dict[str, tuple[Band, ...]] = {}
    why_unknown: str = ""
    nearest: tuple[str, ...] = ()

    def band(self, tier: str, input_tokens: int = 0) -> Band:
        """The price of a request of so many input tokens; one marked unknown where there is none."""
        found = [band for band in self.tiers.get(tier, ()) if band.above < input_tokens or band.above == 0]
        if found:
            return found[-1]
        why = self.why_unknown or f"{self.provider or 'its provider'} publishes no {tier} price for it"
        return Band(0, Rates(), Mark.UNKNOWN, why)


def cost(usage: Usage, price: Price, tier: str = STANDARD) -> Cost:
    """What a request with this usage costs."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    band = price.band(tier, usage.input_tokens)
    pico = band.pico(usage.input_tokens, usage.output_tokens, cached=cached, reasoning=reasoning)
    if pico is None:
        return Cost(None, Mark.UNKNOWN, band.source)
    return Cost(dollars(pico), band.mark, band.source)


def dollars(pico: int) -> Decimal:
    """Pico-dollars as dollars, exactly, with two decimals or as many as it takes."""
    return _readable(Decimal(pico).scaleb(-12))


def per_million(pico: int) -> Decimal:
    """Pico-dollars per token as dollars per million tokens, exactly."""
    return _readable(Decimal(pico) / PICO_PER_DOLLAR_A_MILLION)


def _readable(usd: Decimal) -> Decimal:
    plain = usd.normalize()
    exponent = plain.as_tuple().exponent
    return plain.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else plain


# --- the user's own prices --------------------------------------------------------------------------------


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dollars per million tokens, by contract or for a server of one's own.

    `batch_discount` is the share that is taken off in a batch: 0.5 is half price. What is left out stays as
    it is in the list.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    batch_input: Decimal | None = None
    batch_output: Decimal | None = None
    batch_discount: Decimal | None = None


def read_overrides(given: Mapping[str, Mapping[str, object]]) -> dict[str, Override]:
    """The overrides in `given`, by model. Raises `ConfigError`, which names the setting."""
    overrides = {}
    for model, told in given.items():
        known = Override.__struct_fields__
        for name in told:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise ConfigError(f"prices of {model!r}: unknown setting {name!r}; {hint}")
        try:
            override = msgspec.convert(dict(told), Override)
        except msgspec.ValidationError as cause:
            raise ConfigError(f"prices of {model!r} do not fit: {cause}") from cause
        for name in known:
            value: Decimal | None = getattr(override, name)
            if value is not None and not (value.is_finite() and value >= 0):
                raise ConfigError(f"prices of {model!r}: {name} is {value}; it is 0 or more, in dollars")
        if override.batch_discount is not None:
            read_discount(override.batch_discount, f"prices of {model!r}")
        overrides[model] = override
    return overrides


def read_discount(given: object, where: str) -> Decimal:
    """The share that is taken off in a batch. Raises `ConfigError` unless it is from 0 to 1."""
    try:
        share = msgspec.convert(given, Decimal)
    except msgspec.ValidationError as cause:
        raise ConfigError(f"{where}: batch_discount is no number: {cause}") from cause
    if not (share.is_finite() and 0 <= share <= 1):
        raise ConfigError(
            f"{where}: batch_discount is {share}; it is a share from 0 to 1, 0.5 for half price"
        )
    return share


# --- whose price ------------------------------------------------------------------------------------------

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
# How else people call a provider.
_ALIASES = {
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
_DATED = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


def provider_at(url: str) -> str | None:
    """litellm's name of the provider at this address, None for one we do not know."""
    host = _host(url)
    ends = ((end if end.startswith("-") else f".{end}", name) for end, name in _HOSTS.items())
    return next((name for end, name in ends if f".{host}".endswith(end)), None)


def is_private(url: str) -> bool:
    """Whether the address is this machine's or of a private network.

    Names other than localhost are not looked up: what they lead to is not known here.
    """
    host = _host(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def price_of(
    model: str,
    prices: PriceList,
    *,
    upstream_url: str | None = None,
    overrides: Mapping[str, Override] | None = None,
    batch_discount: Decimal | None = None,
) -> Price:
    """The price of `model` at an upstream.

    `model` may be `provider/model`, `provider:model` or a name alone; a dated variant that is not listed has
    the price of the model it is a variant of. The upstream's host tells the provider; at a host we do not
    know, the price of the model's own provider is taken, and marked derived. A model without any price is
    free, marked local, at a private address, and else unknown. `batch_discount` is the upstream's, from its
    settings.
    """
    key, variant = find(model, prices, provider_at(upstream_url) if upstream_url else None)
    entry = prices.models[key] if key is not None else None
    mine = _mine(model, key, overrides or {})
    if entry is None and mine is None:
        if upstream_url is not None and is_private(upstream_url):
            free = (Band(0, Rates(0, 0), Mark.LOCAL, "an upstream at a private address, without a price"),)
            return Price(model=model, tiers=dict.fromkeys(TIERS, free))
        return Price(
            model=model,
            why_unknown=f"{prices.head.source} has no price for it",
            nearest=nearest(model, prices),
        )
    provider = None if entry is None else family(entry.provider)
    tiers = (
        {} if entry is None else dict(_listed(entry, prices, _doubts(key, variant, upstream_url, provider)))
    )
    if mine is not None:
        tiers = _overridden(tiers, mine)
    discount = mine.batch_discount if mine and mine.batch_discount is not None else batch_discount
    batch = _batch(tiers, mine, discount, provider)
    tiers = {tier: bands for tier, bands in (tiers | {BATCH: batch}).items() if bands}
    return Price(
        model=model,
        key=key,
        provider=provider,
        mode=entry.mode if entry else None,
        context=entry.context if entry else None,
        output_max=entry.output if entry else None,
        tiers=tiers,
    )


def _mine(model: str, key: str | None, overrides: Mapping[str, Override]) -> Override | None:
    return overrides.get(model) or (overrides.get(key) if key is not None else None)


def _doubts(key: str | None, variant: bool, upstream_url: str | None, provider: str | None) -> str:
    """Why the listed price may not be what is charged; empty when it is."""
    if upstream_url is not None and provider_at(upstream_url) is None:
        return f"price at {provider}; what {_host(upstream_url)} charges is not known"
    return f"price of {key}, of which this is a variant" if variant else ""


def _listed(entry: Entry, prices: PriceList, doubts: str) -> Iterator[tuple[str, tuple[Band, ...]]]:
    """The bands of each tier in the list."""
    source = f"{prices.head.source}, {prices.head.date}"
    mark = Mark.DERIVED if doubts else Mark.PUBLISHED
    for tier in TIERS:
        bands = []
        for name, rates in entry.rates.items():
            own, _, above = name.partition(">")
            if own == tier:
                bands.append(Band(int(above or 0), rates, mark, f"{doubts} ({source})" if doubts else source))
        # A long-context price alone says nothing about shorter requests.
        if bands and bands[0].above == 0:
            yield tier, tuple(bands)


def _overridden(tiers: Mapping[str, tuple[Band, ...]], mine: Override) -> dict[str, tuple[Band, ...]]:
    """The tiers with the user's standard price in place of the listed one.

    Whoever has a price of their own has no long-context, flex or priority price from the list.
    """
    if mine.input is None and mine.output is None and mine.cached_input is None:
        return dict(tiers)
    base = tiers[STANDARD][0] if STANDARD in tiers else Band(0, Rates(), Mark.UNKNOWN, "")
    # The listed price of cached input belongs to that of input, the price of hidden output to that of output.
    kept = Rates(
        base.rates.input if mine.input is None else None,
        base.rates.output if mine.output is None else None,
        base.rates.cached if mine.input is None and mine.cached_input is None else None,
        base.rates.reasoning if mine.output is None else None,
    )
    rates = Rates(
        kept.input if mine.input is None else _pico(mine.input),
        kept.output if mine.output is None else _pico(mine.output),
        kept.cached if mine.cached_input is None else _pico(mine.cached_input),
        kept.reasoning,
    )
    source = _YOURS if kept == Rates() else f"{_YOURS}; what you left out: {base.source}"
    return {STANDARD: (Band(0, rates, Mark.GIVEN, source),)}


def _batch(
    tiers: Mapping[str, tuple[Band, ...]],
    mine: Override | None,
    discount: Decimal | None,
    provider: str | None,
) -> tuple[Band, ...]:
    """The batch price: the user's, else the published one, else by the provider's rule; empty if unknown."""
    standard = tiers.get(STANDARD, ())
    if discount is not None:
        said = f"standard price less your batch_discount of {discount}"
        bands = tuple(_share(band, 1 - discount, Mark.GIVEN, said) for band in standard)
    else:
        bands = _completed(tiers.get(BATCH, ()), standard, provider)
    if mine is None or (mine.batch_input is None and mine.batch_output is None):
        return bands
    base = bands[0].rates if bands else Rates()
    rates = Rates(
        base.input if mine.batch_input is None else _pico(mine.batch_input),
        base.output if mine.batch_output is None else _pico(mine.batch_output),
        base.cached if mine.batch_input is None else None,
        base.reasoning if mine.batch_output is None else None,
    )
    return (Band(0, rates, Mark.GIVEN, _YOURS),)


def _completed(
    published: tuple[Band, ...], standard: tuple[Band, ...], provider: str | None
) -> tuple[Band, ...]:
    """The published batch price; where parts of it are missing, they are derived by the provider's rule."""
    share, said_at = BATCH_SHARE.get(provider or "", (None, ""))
    by_above = {band.above: band for band in published}
    bands = []
    for band in standard:
        found = by_above.get(band.above)
        if found is not None and _covers(found.rates, band.rates):
            bands.append(found)
        elif share is not None:
            said = f"{share} of the standard price, as {provider} sells batches ({said_at})"
            derived = _share(band, share, Mark.DERIVED, said)
            bands.append(derived if found is None else _filled(found, derived))
        else:
            # Half a price is none, and the price of short requests is not that of long ones.
            bands.append(
                Band(band.above, Rates(), Mark.UNKNOWN, f"{provider} publishes no batch price for it")
            )
    return tuple(bands) if any(band.mark is not Mark.UNKNOWN for band in bands) else ()


def _covers(rates: Rates, standard: Rates) -> bool:
    return all(
        getattr(rates, kind) is not None or getattr(standard, kind) is None for kind in ("input", "output")
    )


def _filled(found: Band, derived: Band) -> Band:
    kinds = Rates.__struct_fields__
    told = [getattr(found.rates, kind) for kind in kinds]
    rates = Rates(
        *(
            d if t is None else t
            for t, d in zip(told, (getattr(derived.rates, k) for k in kinds), strict=True)
        )
    )
    return Band(found.above, rates, Mark.DERIVED, f"in part {derived.source}")


def _share(band: Band, share: Decimal, mark: Mark, source: str) -> Band:
    def of(pico: int | None) -> int | None:
        return None if pico is None else int((pico * share).to_integral_value())

    rates = band.rates
    # A discount on cached input is not given twice; the rule speaks of the standard price.
    taken = Rates(of(rates.input), of(rates.output), None, of(rates.reasoning))
    return Band(band.above, taken, mark, source)


def _pico(per_million: Decimal) -> int:
    return int((per_million * PICO_PER_DOLLAR_A_MILLION).to_integral_value())


# --- names ------------------------------------------------------------------------------------------------


def family(provider: str) -> str:
    """The provider without its departments: `vertex_ai-anthropic_models` is `vertex_ai`."""
    name = _ALIASES.get(provider, provider)
    return name.partition("-")[0] if name.startswith(("vertex_ai-", "fireworks_ai-")) else name


def find(model: str, prices: PriceList, provider: str | None = None) -> tuple[str | None, bool]:
    """The name of `model` in the list, and whether only its undated variant was found.

    At a `provider` only its own prices count: nobody sells at another's.
    """
    for variant, name in enumerate(_variants(model)):
        for key, seller in _spellings(name, provider):
            entry = prices.models.get(key)
            if entry is not None and (seller is None or seller == family(entry.provider)):
                return key, variant > 0
    return None, False


def _variants(model: str) -> Iterator[str]:
    name = model.removeprefix("models/")
    if name.startswith("ft:"):  # ft:gpt-4o-mini-2024-07-18:org::id
        name = ":".join(name.split(":")[:2])
    yield name
    if _DATED.search(name):
        yield _DATED.sub("", name)


def _spellings(name: str, provider: str | None) -> Iterator[tuple[str, str | None]]:
    """Names to look for, and whose they must be; None: anybody's."""
    found = re.match(r"([\w.-]+)[/:](.+)", name)
    told, rest = (_ALIASES.get(found[1], found[1]), found[2]) if found else ("", name)
    if provider is not None:
        yield f"{provider}/{name}", provider
        yield name, provider
        if told == provider:
            yield f"{provider}/{rest}", provider
            yield rest, provider
        return
    yield name, None
    if told:
        yield f"{told}/{rest}", None
        yield rest, told


def nearest(model: str, prices: PriceList) -> tuple[str, ...]:
    """Listed names like `model`, the likest first."""
    last = model.rpartition("/")[2].lower()
    same = [key for key in prices.models if key.rpartition("/")[2].lower() == last]
    near = difflib.get_close_matches(model, prices.models, n=_NEAREST_MAX, cutoff=0.6)
    return tuple(dict.fromkeys([*sorted(same, key=len), *near]))[:_NEAREST_MAX]
