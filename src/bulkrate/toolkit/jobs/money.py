"""What a job will cost, whether that is allowed, and what it did cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from bulkrate.config import Upstream
from bulkrate.core.deadline import window_s
from bulkrate.core.delegation import OnLate
from bulkrate.core.models import Catalogue
from bulkrate.core.money.actual import Actual, ModelActual
from bulkrate.core.money.bounds import Money
from bulkrate.core.money.estimate import Estimate
from bulkrate.core.money.estimator import Estimator
from bulkrate.core.money.price import BATCH, STANDARD, TIERS, Band, Mark, Price, cost
from bulkrate.core.money.pricelist import Rates
from bulkrate.core.money.sellers import is_private
from bulkrate.errors import OverBudget
from bulkrate.providers.usage import Usage
from bulkrate.toolkit.jobs.record import JobRecord, Tokens
from bulkrate.toolkit.places.place import PlaceAsk, settings_of
from bulkrate.toolkit.prices.counting import counter
from bulkrate.toolkit.prices.pricing import PriceBook
from bulkrate.wording import either

# Beyond this many requests every second, third, … is counted and stands for its neighbours: five thousand of
# them are within 3 % of all, which is less than the count itself may be off.
_COUNTED_MAX = 5_000
_HERE = "http://127.0.0.1"
_MAX_TOKENS = either("--max-tokens", 'params={"max_tokens": …}')
_FREE = Band(0, Rates(0, 0), Mark.LOCAL, "the sandbox answers for nothing")


class Countable(Protocol):
    """A job whose requests can be looked at: a runner."""

    def requests(self, step: int) -> Any:
        """Every `step`-th request to be sent, as (model, endpoint, body)."""

    def request_count(self) -> int:
        """How many requests there will be."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, and which of its two prices is paid where the job runs."""

    estimate: Estimate
    tier: str
    counted_every: int = 1
    #: What becomes of lines that a provider's batch API has not answered in time; None without one.
    on_late: OnLate | None = None

    @property
    def costs(self) -> bool:
        """Whether it costs something, or may: an unknown price is not nothing."""
        money = self.money
        free = money.mark is Mark.LOCAL or not self.estimate.lines_total
        return not free and (money.likely is None or money.likely > 0)

    @property
    def money(self) -> Money:
        """What is paid here."""
        return self.estimate.batch if self.tier == BATCH else self.estimate.standard

    @property
    def usd_at_most(self) -> Decimal | None:
        """The most it can cost, if that is known: all of it late, where late lines go online."""
        money = self.estimate.standard if self.on_late is OnLate.ONLINE else self.money
        return Decimal(money.high) if money.high is not None else None

    def lines(self) -> list[str]:
        """For people."""
        told = self.estimate.lines()
        if self.counted_every > 1:
            told.append(f"  counted   every {self.counted_every}. request")
        paid = "the batch price" if self.tier == BATCH else "the standard price"
        told.append(f"  paid here {paid}")
        return told if self.on_late is None else [*told, f"  when late {_LATE[self.on_late]}"]

    def told(self) -> dict[str, Any]:
        """For the job's record."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told


_LATE = {
    OnLate.ONLINE: "lines go online, at the standard price",
    OnLate.EXPIRE: "lines expire; what was answered is kept and paid, and a retry sends the rest",
    OnLate.WAIT: "the job waits for the provider",
}


class Prices:
    """The prices where a job runs."""

    def __init__(self, place: PlaceAsk, environ: Mapping[str, str], *, window: str = "24h") -> None:
        settings = settings_of(place, environ)
        self._book = PriceBook.load(overrides=settings.prices)
        self._rehearsal = place.sandbox is not None
        self._server = place.server
        self._window_s = window_s(window) or 0
        # Those of a server are its own, whatever the configuration here has for an engine of ours.
        self._upstreams = {} if place.server else settings.upstreams
        #: A batch API sells at the batch price; an inference server does not know what waits.
        delegated = [upstream for upstream in self._upstreams.values() if upstream.delegated]
        self.on_late = delegated[0].on_late if delegated else None
        self.tier = BATCH if delegated or (place.server and not is_private(place.server)) else STANDARD

    def sells_batches(self, model: str) -> bool:
        """Whether lines for a model are meant for a batch API here."""
        if self._server:
            return self.tier == BATCH
        delegated, online = self._first(model, delegated=True), self._first(model, delegated=False)
        if delegated is None:
            return False
        # Whether an online one without a list serves it shows later; that it does is what costs more.
        return online is None or self._window_s >= (window_s(delegated.from_window) or 0)

    def price(self, model: str) -> Price:
        """What a model costs here: in a batch what a batch API takes for it, and at once what another
        upstream does. A model whose lines are for no batch API costs the same either way.
        """
        if self._rehearsal:
            return Price(model=model, tiers=dict.fromkeys(TIERS, (_FREE,)))
        if self._server:
            return self._book.price(model, self._server)
        delegated, online = self._first(model, delegated=True), self._first(model, delegated=False)
        if online is None or self.tier == STANDARD:
            return self._at(model, delegated or online)
        at_once = self._at(model, online)
        standard = at_once.tiers.get(STANDARD, ())
        if self.sells_batches(model):
            price, other = self._at(model, delegated), STANDARD
        else:
            price, other = at_once, BATCH
        tiers = price.tiers | {other: standard}
        return replace(price, tiers={tier: bands for tier, bands in tiers.items() if bands})

    def tier_of(self, delegated: str | None) -> str:
        """At which price an answer was bought. `delegated` is the upstream whose batch API gave it, None for
        one that came at once, or from a server that does not say.
        """
        return BATCH if delegated is not None else self.tier if self._server else STANDARD

    def paid(self, model: str, usage: Usage, delegated: str | None) -> Decimal | None:
        """What one answer cost, bought as `tier_of` says; None while that is unknown."""
        upstream = self._upstreams.get(delegated or "")
        price = self.price(model) if upstream is None or self._rehearsal else self._at(model, upstream)
        return cost(usage, price, self.tier_of(delegated)).usd

    def _first(self, model: str, *, delegated: bool) -> Upstream | None:
        return next(
            (
                upstream
                for upstream in self._upstreams.values()
                if upstream.delegated == delegated and _name_at(upstream, model) is not None
            ),
            None,
        )

    def _at(self, model: str, upstream: Upstream | None) -> Price:
        if upstream is None:
            return self._book.price(model, _HERE)
        return self._book.price(_name_at(upstream, model) or model, upstream.url)


def _name_at(upstream: Upstream, model: str) -> str | None:
    """What an upstream calls a model; None when it is known not to serve it."""
    return Catalogue(tuple(upstream.models or ["*"]), upstream.aliases).name_for(model)


def forecast(job: Countable, prices: Prices) -> Forecast:
    """What the requests that are still to be sent will cost."""
    estimator = Estimator(prices.price)
    count = counter()
    total = job.request_count()
    step = max(1, total // _COUNTED_MAX)
    added = 0
    batched = False
    for model, endpoint, body in job.requests(step):
        tokens = count.request(body, endpoint)
        lines = min(step, total - added)
        estimator.add(model, tokens, lines)
        added += lines
        batched = batched or prices.sells_batches(model)
    return Forecast(
        estimate=estimator.estimate(),
        tier=BATCH if batched else STANDARD,
        counted_every=step,
        on_late=prices.on_late if batched else None,
    )


def hold_to(forecast: Forecast, max_cost: str | None) -> None:
    """Raise `OverBudget` when it may cost more than `max_cost` dollars, or nobody can tell."""
    if max_cost is None or not forecast.costs:
        return
    most = forecast.usd_at_most
    if most is None:
        raise OverBudget(
            f"nobody can tell that this costs at most ${max_cost}: {forecast.estimate.how_sure[-1]}; "
            f"give {_MAX_TOKENS}, or a price in [prices] of the configuration"
        )
    if most > Decimal(max_cost):
        raise OverBudget(
            f"this may cost up to ${most:,.2f}, more than the ${max_cost} allowed; nothing was sent. "
            f"Take fewer rows ({either('--limit', 'limit=')}), a smaller {_MAX_TOKENS} or another model, "
            "or allow more"
        )


def bought(
    tokens: dict[str, dict[str, Tokens]], prices: Prices, model: str, usage: Usage, delegated: str | None
) -> None:
    """Add one answer to what was bought of a model, at the price it was bought at (see `Prices.tier_of`)."""
    usd = prices.paid(model, usage, delegated)
    mine = tokens.setdefault(model, {}).setdefault(prices.tier_of(delegated), Tokens())
    mine.requests += 1
    mine.input += usage.input_tokens
    mine.cached += usage.cached_tokens
    mine.output += usage.output_tokens
    mine.reasoning += usage.reasoning_tokens
    if usd is None:
        mine.unpriced += 1
    else:
        mine.usd += usd


def spent(record: JobRecord, prices: Prices) -> Actual:
    """What the job has cost so far."""
    models = [
        _bought_of(model, tier, mine, prices)
        for model, tiers in sorted(record.tokens.items())
        for tier, mine in sorted(tiers.items())
    ]
    priced = [model for model in models if model.usd is not None]
    total = Usage()
    for part in models:
        total += part.usage
    return Actual(
        purchases=sum(model.purchases for model in models),
        usage=total,
        usd=sum((model.usd for model in priced if model.usd is not None), Decimal(0)) if priced else None,
        mark=max((model.mark for model in priced), key=lambda mark: mark.doubt, default=Mark.UNKNOWN),
        unknown_purchases=sum(model.unknown_purchases for model in models),
        models=tuple(models),
    )


def _bought_of(model: str, tier: str, mine: Tokens, prices: Prices) -> ModelActual:
    band = prices.price(model).band(tier)
    known = mine.unpriced < mine.requests
    return ModelActual(
        model=model,
        tier=tier,
        purchases=mine.requests,
        usage=Usage(mine.input, mine.cached, mine.output, mine.reasoning, mine.input + mine.output),
        usd=mine.usd if known else None,
        mark=band.mark if known else Mark.UNKNOWN,
        source=band.source,
        unknown_purchases=mine.unpriced,
    )


def told_of(record: JobRecord) -> tuple[Actual | None, Forecast | None]:
    """What the record keeps of both, as values."""
    actual = msgspec.convert(record.spent, Actual) if record.spent else None
    before = msgspec.convert(record.estimate, Forecast) if record.estimate else None
    return actual, before
