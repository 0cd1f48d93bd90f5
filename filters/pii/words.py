"""One capitalised word: what the word lists and its form say about it, as a set of bits."""

from __future__ import annotations

import re
from functools import lru_cache

from filters.pii.lexicon import lexicon

UPPER = "".join(c for c in map(chr, range(0x41, 0x530)) if c.isupper())
_LETTERS = r"[^\W\d_]"
WORD = (
    rf"(?:[{UPPER}]\.(?:[ ]?[{UPPER}]\.)*(?!\w)|"
    rf"(?:[DLO]['’])?[{UPPER}](?!\.\w){_LETTERS}*(?:['’][{UPPER}]{_LETTERS}+)?(?:[-‐][{UPPER}]{_LETTERS}+)*(?![\w@]))"
)
_SUFFIX = re.compile(  # endings of surnames that are rare among other words
    r"(?:ov[aá]?|ev[aá]?|ovi[cćč]|i[cćč]|sk[aiy]|sky|wicz|czyk|enko|chuk|escu|eanu|[^aeiou]son|ss?en|s?d[óo]ttir|poulos|opoulou|idis|akis|"
    r"yan|ian|adze|shvili|berg|stein|mann|bach|feld|ström|lund|quist|nen|oğlu|ez|ův|ová|"
    r"[aeiou](?:ll|tt|cc|n|r|l)(?:etti|ini|elli|oni|ucci|uzzi|acci|azzo|iello|aro)|ucci|uzzi|etti|elli|ellini|ottini|oncini|iello|uolo)$"
)

FIRST, FIRST_DOUBTFUL, LAST, LAST_DOUBTFUL, STOP, TITLE, BAR, THING, INITIAL, UPPERS, PART, SURNAMELIKE, LOWER = (1 << i for i in range(13))
NAME = FIRST | FIRST_DOUBTFUL | LAST | LAST_DOUBTFUL


@lru_cache(maxsize=1 << 16)
def flags_of(word: str) -> int:
    lex, low = lexicon(), word.lower().replace("’", "'")
    bits = INITIAL if word.endswith(".") or len(word) == 1 else 0
    for names, bit in ((lex.first, FIRST), (lex.first_doubtful, FIRST_DOUBTFUL), (lex.last, LAST), (lex.last_doubtful, LAST_DOUBTFUL)):
        bits |= bit if low in names else 0
    if "-" in low and not bits:
        bits |= FIRST if all(part in lex.first or part in lex.first_doubtful for part in low.split("-")) else 0
        bits |= LAST if any(part in lex.last for part in low.split("-")) else 0
        bits |= THING if any(part in lex.thing for part in low.split("-")) else 0
    bits |= (
        PART if word.islower() or low in ("di", "de", "del", "della", "la", "lo", "li", "van", "von", "der", "el", "al", "da", "dal") else 0
    )
    for names, bit in ((lex.function, STOP), (lex.title, TITLE), (lex.institution, BAR), (lex.thing, THING)):
        bits |= bit if low in names else 0
    bits |= LOWER if word.islower() else 0
    if bits & STOP:
        bits &= ~NAME
    if bits & THING and bits & FIRST:
        bits = bits & ~FIRST | FIRST_DOUBTFUL
    if bits & (THING | BAR) and bits & LAST:
        bits = bits & ~LAST | LAST_DOUBTFUL
    if len(word) > 1 and word.isupper() and not bits & INITIAL:
        bits |= UPPERS
    if len(low) >= 5 and not bits & (NAME | STOP | TITLE | BAR | THING) and _SUFFIX.search(low):
        bits |= SURNAMELIKE
    return bits
