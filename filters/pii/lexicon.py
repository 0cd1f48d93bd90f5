"""The word lists behind the name rules: first names, surnames, words that are no name, persons of history, cues.

Written for this project from general knowledge of Italian and English (some names were added after errors on
development sets); a name that is missing is found by its neighbours (titles, cues, a known first name) or not at all.
Lists are text files beside this module, read once per process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Lexicon:
    """All words in lower case, typographic apostrophes as `'`."""

    first: frozenset[str]  # names that stand alone: 'giuseppe'
    first_doubtful: frozenset[str]  # names that are also something else: 'rosa', 'mark'
    last: frozenset[str]
    last_doubtful: frozenset[str]
    function: frozenset[str]  # 'il', 'with': never part of a name, end a sequence
    title: frozenset[str]  # 'ministro', 'judge': what follows may be a name
    institution: frozenset[str]  # 'legge', 'university': what follows or precedes is no person
    thing: frozenset[str]  # months and places
    figures: frozenset[str]  # 'giuseppe garibaldi'
    figure_names: frozenset[str]  # 'garibaldi'
    cues: dict[str, frozenset[str]]  # what stands beside a name, by section of cues.txt


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lists of this version of the stage."""
    first, first_doubtful = _names("first_names.txt")
    last, last_doubtful = _names("surnames.txt")
    sections = _sections("words.txt")
    figures = [line.lower() for line in _lines("figures.txt")]
    return Lexicon(
        first=first,
        first_doubtful=first_doubtful,
        last=last,
        last_doubtful=last_doubtful,
        function=sections["function"],
        title=sections["title"],
        institution=sections["institution"],
        thing=sections["month"] | sections["place"],
        figures=frozenset(f for f in figures if not f.endswith(" -")),
        figure_names=frozenset(f.removesuffix(" -").split()[-1] for f in figures),
        cues=_sections("cues.txt", ","),
    )


def _lines(name: str) -> list[str]:
    return [line for line in (_HERE / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]


def _names(name: str) -> tuple[frozenset[str], frozenset[str]]:
    words = " ".join(_lines(name)).lower().split()
    doubtful = frozenset(w[1:] for w in words if w.startswith("~"))
    return frozenset(w for w in words if not w.startswith("~")) - doubtful, doubtful


def _sections(name: str, separator: str | None = None) -> dict[str, frozenset[str]]:
    sections: dict[str, list[str]] = {}
    for line in _lines(name):
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        else:
            current.extend(word.strip() for word in line.split(separator) if word.strip())
    return {section: frozenset(words) for section, words in sections.items()}
