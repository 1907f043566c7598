"""Hosted APIs: how much of a quota is used, and how many requests are refused on the way."""

from __future__ import annotations

from benchmarks.simulate.report import Report
from benchmarks.simulate.server import Allowance, Server, serve
from bulkrate.core.window import Window

_SECONDS = 900.0
_FIRST_S = 60.0


def run(*, seeds: int, quick: bool) -> Report:
    """A quota of requests, of tokens, by the minute; told in headers or found by being refused."""
    report = Report(f"Hosted APIs; worst of {seeds} seeds")
    rows = []
    for name, make, share_min, refused_max in _cases():
        shares, refused = [], []
        for seed in range(1, (1 if quick else seeds) + 1):
            server = make()
            served = serve(server, Window(maximum=None), seed=seed, seconds=_SECONDS, tells_tokens=False)
            shares.append(_share(server, served.late_answers, served.late_tokens))
            refused.append(served.refusals / (served.answers + served.refusals))
        rows.append((name, min(shares), f"{max(refused):.1%}"))
        report.goal(f"share of what is allowed, {name}", min(shares), low=share_min)
        report.goal(f"refused, {name}", max(refused), high=refused_max)
    report.table(("upstream", "share of what is allowed", "refused"), rows)
    return report


def _cases():  # type: ignore[no-untyped-def]
    def hosted(**about: object) -> Server:
        return Server(places=10**6, service_s=4.0, spread=0.6, tokens=900.0, **about)  # type: ignore[arg-type]

    return (
        ("600 requests a minute, told", lambda: hosted(requests=Allowance(600)), 0.95, 0.01),
        ("300,000 tokens a minute, told", lambda: hosted(token_quota=Allowance(300_000)), 0.95, 0.01),
        (
            "600 requests in each full minute, told",
            lambda: hosted(requests=Allowance(600, steady=False)),
            0.95,
            0.01,
        ),
        (
            "600 requests a minute, only Retry-After",
            lambda: hosted(requests=Allowance(600), tells_quota=False),
            0.80,
            0.10,
        ),
        (
            "600 requests a minute, only 429",
            lambda: hosted(requests=Allowance(600), tells_quota=False, tells_retry_after=False),
            0.80,
            0.20,
        ),
        (
            "40 at once, only 429",
            lambda: hosted(crowd_max=40, tells_retry_after=False),
            0.80,
            0.05,
        ),
    )


def _share(server: Server, answers: int, tokens: float) -> float:
    seconds = _SECONDS - _FIRST_S
    if server.requests is not None:
        return answers / (server.requests.limit / 60 * seconds)
    if server.token_quota is not None:
        return tokens / (server.token_quota.limit / 60 * seconds)
    return answers / (server.crowd_max / server.service_s * seconds)
