"""How far the guess of tokens is off, per kind of text, against the exact tokenisers.

    python -m benchmarks.tokens

The texts in `texts.toml`, this repository's own code, documentation and data, and made noise. The weights
were fitted on others; the bands are drawn so that nine in ten kinds are inside. Needs the extra `tokens`.
"""

from __future__ import annotations

import argparse
import base64
import random
import sys
import time
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path

from bulkrate.core.tokens.guess import guess
from bulkrate.core.tokens.vocabulary import Vocabulary
from bulkrate.toolkit.prices.counting import counter

ROOT = Path(__file__).parents[1]
_FILES_MAX = 40
_CHARS_MAX = 40_000
# The band is for sums of a kind; so many kinds in a hundred shall be within it.
_WITHIN_GOAL = 90


def texts() -> dict[str, str]:
    """A text of each kind."""
    written = tomllib.loads((ROOT / "benchmarks/texts.toml").read_text(encoding="utf-8"))
    found = {
        name.replace("_", " "): text.strip() for group in written.values() for name, text in group.items()
    }
    for name, pattern in (
        ("Python", "src/bulkrate/engine/**/*.py"),
        ("Markdown", "docs/*.md"),
        ("JSON", "src/bulkrate/data/*.json"),
        ("TOML", "pyproject.toml"),
    ):
        paths = sorted(ROOT.glob(pattern))[:_FILES_MAX]
        found[name] = "\n".join(path.read_text(encoding="utf-8")[:_CHARS_MAX] for path in paths)
    return found | noise(random.Random(7))  # the same noise every time


def noise(dice: random.Random) -> dict[str, str]:
    """What nobody wrote."""
    made: dict[str, Callable[[], str]] = {
        "UUIDs": lambda: str(uuid.UUID(int=dice.getrandbits(128))),
        "base64": lambda: base64.b64encode(dice.randbytes(57)).decode(),
        "hex": lambda: dice.randbytes(20).hex(),
        "numbers": lambda: (
            f"{dice.randint(0, 10**6)},{dice.gauss(0, 1):.5f},2026-{dice.randint(1, 12):02}-17"
        ),
        "log lines": lambda: (
            f"2026-11-20T{dice.randint(10, 23)}:14:07.{dice.randint(100, 999)}Z INFO "
            f"worker-{dice.randint(0, 9)} request {dice.randint(10**5, 10**6)} "
            f"took {dice.randint(1, 900)} ms status=200"
        ),
    }
    return {name: "\n".join(line() for _ in range(200)) for name, line in made.items()}


def main() -> int:
    argparse.ArgumentParser(prog="python -m benchmarks.tokens", description=__doc__).parse_args()
    exact = counter(exact=True)
    vocabularies = (Vocabulary.O200K, Vocabulary.CL100K)
    print(
        f"{'':20} {'':>9}"
        + "".join(f"   {known.value:>11} {'guess':>7} {'off':>7} {'band':>6} " for known in vocabularies)
    )
    within = kinds = 0
    worst = dict.fromkeys(vocabularies, ("", 0.0))
    for name, text in texts().items():
        row = f"{name:20} {len(text):>9,}"
        for known in vocabularies:
            true = exact.text(text, known).likely
            found = guess(text, known)
            off, band = found.likely / true - 1, found.high / found.likely - 1
            inside = found.low <= true <= found.high
            within, kinds = within + inside, kinds + 1
            worst[known] = max(worst[known], (name, off), key=lambda pair: abs(pair[1]))
            row += f"   {true:>11,} {found.likely:>7,} {off:>+7.1%} {band:>6.0%}{' ' if inside else '!'}"
        print(row)
    for known, (name, off) in worst.items():
        print(f"furthest off with {known.value}: {name}, {off:+.1%}")
    share = 100 * within / kinds
    print(f"within the band: {within} of {kinds} ({share:.0f} %; the goal is {_WITHIN_GOAL} %)")
    tell_speed(texts()["Markdown"])
    return 0 if share >= _WITHIN_GOAL else 1


def tell_speed(text: str) -> None:
    began = time.perf_counter()
    guess(text)
    print(f"speed: {len(text) / (time.perf_counter() - began) / 1e6:.0f} million characters a second")


if __name__ == "__main__":
    sys.exit(main())
