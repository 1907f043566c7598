"""How many tokens a text has, guessed from its letters: no tables, no network, some megabytes a second.

Runs of one kind (words, digits, signs, characters of a script) are counted and weighed. The weights are
fitted to OpenAI's two vocabularies on texts in sixty languages, code, JSON, tables and noise; how far they
are off is printed by `python -m benchmarks.tokens`, on other texts. A guess comes with a band for sums over
many texts of a kind: a single short text may be further off.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Mapping

import msgspec

from bulkrate.core.tokens.vocabulary import Vocabulary

# Longer texts are weighed in pieces, so that the runs of one piece are all that is held.
_PIECE_CHARS = 1 << 16


class Guess(msgspec.Struct, frozen=True):
    """Tokens: the likely number, and the band that it is in."""

    low: int
    likely: int
    high: int


# English is told from other languages in Latin letters by the small words that every sentence has, and the
# tongues that vocabularies know well from those that they spell out.
_ENGLISH = """
the of and to is that with this was are be or not you from by have has your can will should if when
"""
_WELL_KNOWN = """
der das und ist nicht ein eine den dem von zu mit auf sie werden la le les des est une du un et pour dans que
qui el los las y por para con una es del se su os uma em no da ser il di che non per della sono
"""
_LESS_KNOWN = """
het een van en niet voor zijn och att det som är på av og til ikke er med ja że się nie jest na do ve bir bu
için olarak yang dan untuk tidak dengan ini ei että ole sau este și az és nem egy hogy je ne si při ir nav për
dhe të ta on kwa ya wa ni eta
"""
_LANGUAGE_OF = {
    word: language
    for language, words in (
        ("english", _ENGLISH),
        ("well_known", _WELL_KNOWN),
        ("less_known", _LESS_KNOWN),
    )
    for word in words.split()
}
# Russian is well known, its sisters are not; these letters tell them apart.
_RUSSIAN = frozenset("ыэ")
_NOT_RUSSIAN = frozenset("іїўјљњќѓђћқәөүң")

# Where a kind of character begins, in Unicode's order of blocks.
_BLOCKS = (
    (0x00A1, "sign"),
    (0x00C0, "latin"),
    (0x0250, "sign"),
    (0x0370, "greek"),
    (0x0400, "cyrillic"),
    (0x0530, "caucasian"),
    (0x0590, "hebrew"),
    (0x0600, "arabic"),
    (0x0900, "devanagari"),
    (0x0980, "indic"),
    (0x0E00, "thai"),
    (0x0E80, "southeast"),
    (0x10A0, "caucasian"),
    (0x1100, "hangul"),
    (0x1200, "rare"),
    (0x1780, "southeast"),
    (0x1800, "rare"),
    (0x1E00, "latin"),
    (0x1F00, "greek"),
    (0x2000, "sign"),
    (0x3040, "kana"),
    (0x3100, "rare"),
    (0x3400, "han"),
    (0xA000, "rare"),
    (0xAC00, "hangul"),
    (0xD800, "sign"),
    (0xF900, "han"),
    (0xFB00, "arabic"),
    (0xFE00, "sign"),
    (0x10000, "rare"),
    (0x1F000, "emoji"),
    (0x20000, "han"),
)
_STARTS = [start for start, _ in _BLOCKS]
_RUNS = re.compile(
    r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+|\d{1,3}|[ \t]+|\s+|[!-/:-@\[-`{-~]+|[\u3040-\u30ff]+"
    r"|[\u0370-\u03ff]+|[\u0400-\u052f]+"
    r"|[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+|[\uac00-\ud7af]+|[\u0530-\u058f\u10a0-\u10ff]+"
    r"|[\u0590-\u05ff]+|[\u0600-\u08ff]+|[\u0900-\u097f]+|[\u0980-\u0dff]+|[\u0e00-\u0e7f]+"
    r"|[\u0e80-\u109f\u1780-\u17ff]+|[^\x00-\x7f]|[\x00-\x1f\x7f]"
)
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[A-Z]")
# A word costs more for each letter beyond these.
_SHORT = {"english": 7, "well_known": 5, "less_known": 3, "accented_well": 4, "accented": 3, "capitals": 2}

# For O200K, then for CL100K: tokens per run, tokens per unit of size, and how far sums of a kind may be off.
# The tokens are fitted by least squares of the relative error, on messages of programs in sixty languages,
# Python's library and documentation, JSON and made noise. The doubts are drawn on other texts, those of
# `python -m benchmarks.tokens`, so that nine in ten kinds of text are inside.
_WEIGHTS = {
    "accented": ((0.99, 0.48, 0.28), (1.80, 0.50, 0.28)),
    "accented_well": ((1.40, 0.02, 0.18), (2.19, 0.00, 0.22)),
    "arabic": ((1.51, 0.00, 0.15), (3.75, 0.00, 0.26)),
    "capitals": ((2.06, 0.00, 0.25), (2.29, 0.00, 0.30)),
    "caucasian": ((0.43, 0.32, 0.15), (0.77, 2.03, 0.15)),
    "cyrillic": ((0.84, 0.14, 0.15), (0.79, 0.32, 0.20)),
    "cyrillic_rare": ((0.66, 0.27, 0.25), (0.00, 0.66, 0.30)),
    "devanagari": ((0.00, 0.39, 0.15), (0.00, 1.21, 0.15)),
    "digits": ((1.26, 0.00, 0.10), (1.30, 0.00, 0.10)),
    "emoji": ((1.69, 0.50, 0.30), (2.43, 0.50, 0.30)),
    "english": ((1.04, 0.15, 0.14), (1.05, 0.15, 0.14)),
    "gap": ((2.32, 0.00, 0.30), (2.63, 0.00, 0.30)),
    "greek": ((0.00, 0.40, 0.12), (0.00, 1.05, 0.12)),
    "han": ((1.60, 0.61, 0.25), (2.07, 0.74, 0.38)),
    "hangul": ((1.01, 0.34, 0.15), (1.24, 0.64, 0.18)),
    "hebrew": ((0.71, 0.28, 0.12), (1.42, 0.85, 0.12)),
    "indent": ((1.03, 0.00, 0.15), (1.12, 0.00, 0.15)),
    "indic": ((0.59, 0.31, 0.18), (0.00, 1.59, 0.20)),
    "kana": ((0.00, 0.47, 0.12), (0.00, 0.72, 0.12)),
    "less_known": ((0.93, 0.22, 0.28), (1.03, 0.31, 0.28)),
    "marks": ((0.48, 0.51, 0.20), (0.41, 0.43, 0.20)),
    "newline": ((0.85, 0.00, 0.15), (0.79, 0.00, 0.15)),
    # Not in the texts: two to three bytes each, of which the vocabularies know few.
    "rare": ((0.00, 2.20, 0.50), (0.00, 2.80, 0.50)),
    "sign": ((0.00, 0.38, 0.30), (0.69, 0.50, 0.30)),
    "southeast": ((0.00, 0.64, 0.15), (0.00, 1.73, 0.15)),
    "thai": ((0.66, 0.35, 0.12), (0.21, 0.93, 0.12)),
    "well_known": ((0.84, 0.35, 0.18), (0.78, 0.48, 0.22)),
}
# What two other vendors' tokenisers make of the same texts: English and code cost up to a fifth more than
# with O200K, and of scripts they know as little as CL100K, or less.
_OTHER_LOW = 0.9
_OTHER_LIKELY = (1.05, 0.25)
_OTHER_HIGH = 1.2


def guess(text: str, vocabulary: Vocabulary = Vocabulary.O200K) -> Guess:
    """The tokens of `text`. The band is the sum's over many texts of the kind."""
    sums = ([0.0, 0.0], [0.0, 0.0])
    for start in range(0, len(text), _PIECE_CHARS):
        for kind, (runs, size) in measure(text[start : start + _PIECE_CHARS]).items():
            for total, (per_run, per_size, doubt) in zip(sums, _WEIGHTS[kind], strict=True):
                tokens = runs * per_run + size * per_size
                total[0] += tokens
                total[1] += tokens * doubt
    new, old = (_banded(likely, doubt) for likely, doubt in sums)
    known = {Vocabulary.O200K: new, Vocabulary.CL100K: old}
    return known[vocabulary] if vocabulary in known else resembling(new, old)


def _banded(likely: float, doubt: float) -> Guess:
    # Rounded, not widened: it is for sums, and a token on either side of each short text would add up.
    low, middle, high = (round(tokens) for tokens in (likely - doubt, likely, likely + doubt))
    least = 1 if likely > 0 else 0
    return Guess(low, max(middle, least), max(high, least))


def resembling(new: Guess, old: Guess) -> Guess:
    """What another vendor's tokeniser makes of a text that has `new` tokens with O200K, `old` with CL100K."""
    likely = new.likely * _OTHER_LIKELY[0] + max(0, old.likely - new.likely) * _OTHER_LIKELY[1]
    return Guess(round(new.low * _OTHER_LOW), round(likely), round(max(new.high, old.high) * _OTHER_HIGH))


def measure(text: str) -> dict[str, list[float]]:
    """What is in `text`, by kind: the number of runs, and their size as the weights take it."""
    found: dict[str, list[float]] = {}
    words: Counter[tuple[str, int]] = Counter()
    languages: Counter[str] = Counter()
    runs = Counter(_RUNS.findall(text))
    for run, times in runs.items():
        first = run[0]
        if language := _LANGUAGE_OF.get(run.lower()):
            languages[language] += times
        if first.isspace():
            _add_space(found, run, times)
        elif not run.isascii() and (first.isascii() or _kind(first) == "latin"):
            words["accented", len(run)] += times
        elif not run.isascii():
            _add(found, _kind(first), times, len(run))
        elif first.isalpha():
            for part in [run] if run.islower() else _CAMEL.findall(run):
                plain = part.islower() or part.istitle()
                words["word" if plain else "capitals", len(part)] += times
        elif first.isdigit():
            _add(found, "digits", times, 0)
        else:
            _add(found, "marks", times, max(0, min(len(run), 8) - 2))
    _add_words(found, words, languages)
    if "cyrillic" in found:
        letters = set().union(*(run for run in runs if "\u0400" <= run[0] < "\u0530"))
        if letters & _NOT_RUSSIAN or not letters & _RUSSIAN:
            found["cyrillic_rare"] = found.pop("cyrillic")
    return found


def _add(found: dict[str, list[float]], kind: str, runs: float, size: float) -> None:
    entry = found.setdefault(kind, [0, 0])
    entry[0] += runs
    entry[1] += runs * size


def _add_space(found: dict[str, list[float]], run: str, times: int) -> None:
    """A space before a word belongs to the word; what is more is paid for."""
    if "\n" in run or "\r" in run:
        _add(found, "newline", times, 0)
        if run.endswith(("  ", "\t")):
            _add(found, "indent", times, 0)
    elif run != " ":
        _add(found, "gap", times, 0)


def _add_words(
    found: dict[str, list[float]], words: Mapping[tuple[str, int], int], languages: Counter[str]
) -> None:
    """Latin words, shared out among the languages as their small words are."""
    told = languages.total()
    if told:
        shares = {language: times / told for language, times in languages.items()}
    else:
        strange = any(kind == "accented" for kind, _ in words)
        shares = {"less_known" if strange else "english": 1.0}
    well = shares.get("well_known", 0.0)
    foreign = well + shares.get("less_known", 0.0)
    accents_well = well / foreign if foreign else 0.0
    of_kind = {
        "word": shares,
        "accented": {"accented_well": accents_well, "accented": 1 - accents_well},
        "capitals": {"capitals": 1.0},
    }
    for (kind, size), times in words.items():
        for language, share in of_kind[kind].items():
            if share:
                _add(found, language, times * share, max(0, size - _SHORT[language]))


def _kind(char: str) -> str:
    return _BLOCKS[bisect.bisect_right(_STARTS, ord(char)) - 1][1]
