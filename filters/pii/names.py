"""Names of persons by rule, for Italian and English: capitalised sequences, word lists, and what stands beside them.

A sequence of capitalised words is cut at words that are no name; what remains is a person when a known first name is in
it, or when a title (`avv.`, `Mr`), a phrase (`il sottoscritto`, `my name is`) or what follows (`, nato a`) says so. After
`legge`, `via`, `Istituto`, `San`, before `S.p.A.` or `University`, it is no person. A surname of a person found elsewhere
in the document is found by `spread`. Limits: names all in lower case, single unknown names and first names that are also
common words stay undetected without a cue; a company named like a person is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from filters.pii.lexicon import lexicon
from filters.pii.spans import Span
from filters.pii.words import (
    BAR,
    FIRST,
    FIRST_DOUBTFUL,
    INITIAL,
    LAST,
    LAST_DOUBTFUL,
    LOWER,
    NAME,
    PART,
    STOP,
    SURNAMELIKE,
    THING,
    TITLE,
    UPPER,
    UPPERS,
    WORD,
    flags_of,
)

_JOINT = r"(?:[ \t\u00a0]+|[ \t]*\n[ \t]*)"
_PARTICLE = r"(?:de|van|von|der|den|del|della|di|da|la|le|bin|ibn|al|el|dos|das)"
_SEQUENCE = re.compile(rf"(?<![\w<@/#_&\\=%.-]){WORD}(?:{_JOINT}(?:{_PARTICLE}[ \t]+){{0,2}}{WORD}){{0,9}}")
_TOKEN = re.compile(rf"{WORD}|{_PARTICLE}(?=[ \t])")
_COMMON = re.compile(r"(?<![\w@.'’-])[a-zà-öø-ÿ]{4,}(?![\w@])")
_CAPITALISED = re.compile(rf"(?<![\w<@/#_.-])(?:[DdLl]['’])?[{UPPER}]\w{{3,}}(?:-[{UPPER}]\w+)?(?![\w@])")

_CUES = lexicon().cues
_AFTER = re.compile(
    r"[ \t]*,?[ \t]*(?:nat[oa][ \t]+(?:a|il|in|l['’])|residente|domiciliat[oa]|c\.?f\.?[ :]|\(?c(?:odice)?\.?[ \t]*f(?:iscale)?\.?|"
    r"born[ \t]|<?[\w.+-]{1,64}@|,[ \t]*(?:Presidente|Redattore|Redattrice|Relatore|Relatrice|Cancelliere|Giudice))|[ \t]*<[\w.+-]{1,64}@|"
    r"(?:['’]s)?[ \t]+(?P<said>said|says|told|asked|wrote|lives|ha dichiarato|dichiara|ha detto|disse|rispose|replied|explained)\b"
)
_FIRM = re.compile(
    r"[ \t]*,?[ \t]*(?:&|S\.?p\.?A|S\.?r\.?l|S\.?n\.?c|S\.?a\.?s|Inc\b|Ltd|LLC|Corp|GmbH|e figli|Street\b|"
    r"['’]s (?:law|theorem|disease|syndrome))",
    re.IGNORECASE,
)
_NOBILIARY = frozenset(("de", "von", "van", "di", "del", "dal", "della"))


class _Token(NamedTuple):
    start: int
    end: int
    low: str
    flags: int


def common_words(text: str) -> frozenset[str]:
    """Words the document also writes in lower case: capitalised, they are hardly names."""
    return frozenset(_COMMON.findall(text))


def find(text: str, common: frozenset[str]) -> Iterator[Span]:
    """Persons in the text; `common` are the document's common words."""
    for match in _SEQUENCE.finditer(text):
        run: list[_Token] = []
        barred, cue, at_start, previous = _barred(text, match.start()), 0, _opens(text, match.start()), None
        for t in _TOKEN.finditer(text, match.start(), match.end()):
            token = _Token(t.start(), t.end(), t[0].lower().replace("’", "'"), flags_of(t[0]))
            if previous is not None and "\n" in text[previous.end : token.start] and not _wrapped(text, previous, token):
                yield from _persons(text, run, barred, cue, at_start, common)
                run, barred, cue, at_start = [], False, 0, True
            flags = token.flags
            if (flags & BAR and not (flags & NAME and run)) or (flags & STOP and not flags & PART):
                yield from _persons(text, run, barred or bool(flags & BAR), cue, at_start, common)
                run, barred, cue, at_start = (
                    [],
                    bool(flags & BAR) or token.low in _CUES["crowned"],
                    2 if token.low in _CUES["strong"] else 0,
                    False,
                )
            elif flags & TITLE and not flags & NAME:
                yield from _persons(text, run, barred, cue, at_start, common)
                run, barred, cue, at_start = [], False, 1, False
            else:
                run.append(token)
            previous = token
        yield from _persons(text, run, barred, cue, at_start, common)


def spread(text: str, persons: Iterable[Span], common: frozenset[str]) -> Iterator[Span]:
    """Further mentions of the surnames of these persons (offsets in the same text)."""
    return mentions(text, surnames(text, persons, common))


def surnames(text: str, persons: Iterable[Span], common: frozenset[str]) -> frozenset[str]:
    """Surnames, in lower case, of those of these persons who are named by two words or more."""
    known: set[str] = set()
    for span in persons:
        tokens = [t[0] for t in _TOKEN.finditer(text, span.start, span.end) if t[0][0].isupper()]
        if len(tokens) < 2 or span.score < 0.6:
            continue
        for word in tokens if flags_of(tokens[-1]) & (FIRST | FIRST_DOUBTFUL) else tokens[-1:]:
            low, flags = word.lower().replace("’", "'"), flags_of(word)
            if len(low) >= 4 and not flags & (FIRST | FIRST_DOUBTFUL | STOP | TITLE | BAR | THING | INITIAL) and low not in common:
                known.add(low)
    return frozenset(known)


def mentions(text: str, known: frozenset[str]) -> Iterator[Span]:
    """Capitalised words that are one of these surnames, save after `legge`, `via` and before `S.p.A.`."""
    if known:
        for match in _CAPITALISED.finditer(text):
            low = match[0].lower().replace("’", "'")
            start = match.start()
            if low not in known and low[1:2] == "'" and low[2:] in known:
                low, start = low[2:], start + 2
            if (
                low in known
                and low not in lexicon().figure_names
                and not _barred(text, match.start())
                and not _FIRM.match(text, match.end())
            ):
                yield Span(start, match.end(), "PERSONA", 0.6)


def _wrapped(text: str, before: _Token, after: _Token) -> bool:
    """Whether a name may go on over this line break: the line is long and ends in a first name."""
    line = before.end - (text.rfind("\n", 0, before.end) + 1)
    return line >= 30 and bool(before.flags & (FIRST | INITIAL)) and not after.flags & (STOP | TITLE | BAR | THING)


def _barred(text: str, start: int) -> bool:
    """Whether the words before say that this is no person: `legge Merloni`, `Comune di San Giovanni`."""
    before = text[max(0, start - 32) : start]
    if not before or before[-1] not in " \t'’":
        return False
    last = before.lower().split()[-2:]
    if not last:
        return False
    if last[-1] in lexicon().institution or last[-1] in _CUES["crowned"]:
        return True
    return len(last) == 2 and last[1] in ("di", "of", "d'", "del", "de") and last[0] in _CUES["locality"]


def _beside(text: str, start: int) -> int:
    """Whether the word before goes well with a person who is not announced: 1 as `di`, `and`, a comma; 0 as `nel`, `the`."""
    before = text[max(0, start - 16) : start].lower().replace("’", "'").split()
    return int(bool(before) and text[start - 1] in " \t" and (before[-1] in _CUES["neutral"] or before[-1][-1] in ",;"))


def _opens(text: str, start: int) -> bool:
    """Whether a sentence, a line or a quotation starts here: there every word has a capital."""
    before = text[max(0, start - 4) : start].rstrip(" \t\"“«'(-*#")
    return not before or before[-1] in ".!?:\n>"


def _cue(text: str, start: int, end: int) -> int:
    """0, 1 (weak) or 2 (strong): what the text before and after says."""
    before = text[max(0, start - 40) : start]
    heads: list[str] = []
    words = before.lower().replace("’", "'").split()
    if words and before[-1] in ' \t\n("“\u00a0':
        raw = words[-1].strip('("“')
        bare = raw.rstrip(":,")
        heads = [raw, raw.rpartition("'")[2], bare, " ".join([*words[-2:-1], bare]), " ".join([*words[-3:-1], bare])]
        broken = "\n" in before[len(before.rstrip()) :]
        if not _CUES["closing"].isdisjoint(heads) or (not broken and not _CUES["strong"].isdisjoint(heads)):
            return 2
    after = _AFTER.match(text, end)
    if after and not after["said"]:
        return 2
    return 1 if after or (heads and (not _CUES["weak"].isdisjoint(heads) or heads[0] in lexicon().title)) else 0


def _persons(text: str, run: list[_Token], barred: bool, cue: int, at_start: bool, common: frozenset[str]) -> Iterator[Span]:
    """The persons in a run of words that may be names."""
    while run and run[0].flags & PART and not (len(run) > 1 and text[run[0].start].isupper()):
        run = run[1:]
    while run and (run[-1].flags & PART and not run[-1].flags & NAME):
        run = run[:-1]
    if not run or barred or _FIRM.match(text, run[-1].end):
        return
    known = any(t.flags & (NAME | SURNAMELIKE) for t in run)
    cue = max(cue, _cue(text, run[0].start, run[-1].end)) if known or cue or len(run) <= 4 else cue
    first, beside = 0, 0 if at_start else _beside(text, run[0].start)
    while first < len(run):
        length, score = _read(run[first:], cue, at_start and first == 0, beside if first == 0 else 0, common)
        if length and not _figure(run[first : first + length], cue):
            yield Span(run[first].start, run[first + length - 1].end, "PERSONA", score)
        cue = 0 if length else cue
        first += length or 1


def _figure(name: list[_Token], cue: int) -> bool:
    lex = lexicon()
    if len(name) == 1:
        return cue < 2 and name[0].low in lex.figure_names and name[0].low not in lex.first
    return f"{name[0].low} {name[-1].low}" in lex.figures or " ".join(t.low for t in name) in lex.figures


def _read(run: list[_Token], cue: int, at_start: bool, beside: int, common: frozenset[str]) -> tuple[int, float]:
    """How many words at the head of the run are one name, and how sure that is; (0, 0) for none."""
    head = run[0].flags
    upper = all(t.flags & UPPERS for t in run if not t.flags & (PART | INITIAL))
    end = 1
    while end < len(run) and end < 6 and (run[end].flags & (NAME | PART | INITIAL) or not run[end].flags & (THING | TITLE | STOP | BAR)):
        end += 1
    while end > 1 and (run[end - 1].flags & PART or (run[end - 1].flags & INITIAL and end < 2)):
        end -= 1
    rest = [t for t in run[1:end] if not t.flags & PART]
    if not rest:
        return _single(run[0], cue, at_start, beside, common)
    last = rest[-1]
    surname = last.flags & (LAST | LAST_DOUBTFUL)
    unknown = not last.flags & NAME and last.low in common
    if head & PART and not head & (LOWER | UPPERS) and run[0].low in _NOBILIARY and not last.flags & (THING | FIRST | INITIAL):
        sure = run[0].low in ("de", "von", "van")
        return (2, 0.6 if sure else 0.5) if (sure or not at_start) and run[1].low not in common else (0, 0.0)
    if head & FIRST:
        if last.flags & (LAST | LAST_DOUBTFUL | SURNAMELIKE):
            return end, 0.95 if last.flags & LAST else 0.85
        if last.flags & (FIRST | FIRST_DOUBTFUL):
            return end, 0.8
        if last.flags & INITIAL:
            return end, 0.6
        if unknown and not cue:
            return 1, 0.55
        return min(end, 4), 0.6 if upper else 0.75
    if head & FIRST_DOUBTFUL:
        if last.flags & LAST or (surname and cue):
            return end, 0.85
        if last.flags & SURNAMELIKE or last.flags & FIRST or cue == 2:
            return end, 0.65
        if surname or cue or head & (LAST | LAST_DOUBTFUL):
            return end, 0.5
        return end, 0.55 if not unknown and not head & THING and not at_start else 0.35
    if head & INITIAL:
        score = 0.75 if last.flags & LAST else 0.6 if last.flags & (SURNAMELIKE | LAST_DOUBTFUL) or cue == 2 else 0.35
        return (end, score) if not last.flags & INITIAL else (0, 0.0)
    if head & LAST and last.flags & (FIRST | FIRST_DOUBTFUL):  # surname first
        return end, 0.8
    if (head & (LAST | LAST_DOUBTFUL) and last.flags & (FIRST | INITIAL)) or (head & UPPERS and not upper and last.flags & FIRST):
        return end, 0.6
    strange = run[0].low in common or unknown
    if cue == 2 and not strange and not head & THING:
        return min(end, 4), 0.75
    if last.flags & LAST and not strange and not head & THING:
        return (end, 0.6) if cue or not at_start else (0, 0.0)
    if last.flags & SURNAMELIKE and not strange and not head & THING and end <= 3 and not upper:
        return end, 0.55
    plain = not any(t.flags & (PART | UPPERS | INITIAL) or len(t.low) < 3 or "-" in t.low for t in run)
    if cue and end <= 3 and plain and not strange and not head & THING:
        return end, 0.55
    if len(run) == end == 2 and beside == 1 and plain and not strange and not head & THING:
        return end, 0.46
    return 0, 0.0


def _single(token: _Token, cue: int, at_start: bool, beside: int, common: frozenset[str]) -> tuple[int, float]:
    flags, strange = token.flags, token.low in common
    if flags & INITIAL or (flags & PART and not flags & NAME):
        return 0, 0.0
    if cue == 2 and not strange and not flags & (THING | STOP) and not (flags & UPPERS and len(token.low) < 4):
        return 1, 0.7
    if flags & FIRST:
        return 1, 0.55 if not flags & UPPERS else 0.5 if cue else 0.35
    if cue and not strange and (flags & (LAST | SURNAMELIKE) or (flags & LAST_DOUBTFUL and not flags & THING)):
        return 1, 0.55
    if flags & LAST and not strange and not flags & UPPERS:
        return 1, 0.5 if beside else 0.37
    return (1, 0.35) if flags & FIRST_DOUBTFUL and not strange and not at_start else (0, 0.0)
