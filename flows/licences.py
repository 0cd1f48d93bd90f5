"""Licence statements in a text, by the phrases people use in Italian and English, under SPDX-like names.

    find("Testo rilasciato con licenza CC BY-SA 4.0")  ->  ["CC-BY-SA-4.0"]

A statement counts when it has the form of one: a licence's own address or identifier, or its name as a licence. The mere words
'public domain' do not (in Italian 'di dominio pubblico' also means that everybody knows), nor does '©' with a name.
A name without its version stays without it ('CC-BY'); 'or later' and national ports are not told apart. `All-Rights-Reserved`
is no licence but the opposite of one, and worth knowing.

Limits: a text about a licence reads like a text under it, and so does one that says it is *not* under it; a licence that stands
only on another page is not found. What is found is a hint for a person, not a judgement on rights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

RESERVED = "All-Rights-Reserved"
PUBLIC = "Public-Domain"
_VERSION = r"(?:[\s,(-]*(?:(?:v|vers?|versione?)[\s.]*(?=\d)|(?=\d\.\d))(\d(?:\.\d)?)(?!\.?\d))?"
_CC_BY = r"((?:[\s-]+(?:NC|SA|ND))*)"
_WORDS = (
    ("NC", r"non[\s-]*commerc\w+"),
    ("ND", r"no(?:n)?[\s-]*(?:opere[\s-]+)?deriv\w+"),
    ("SA", r"share[\s-]*alike|condividi\s+allo\s+stesso\s+modo|stessa\s+licenza"),
)
_ELEMENTS = "|".join(pattern for _, pattern in _WORDS)
_WORK = r"(?:work|text|book|e-?book|document|edition|file|image|report|dataset)s?"
_OPERA = r"(?:opera|testo|libro|e-?book|documento|edizione|file|immagine|dataset)"


def _joined(name: str, version: str | None) -> str:
    return f"{name}-{version if '.' in version else version + '.0'}" if version else name


def _elements(found: str, version: str | None) -> str:
    """The name of a Creative Commons licence with these elements, in the usual order."""
    there = [e for e in ("NC", "ND", "SA") if re.search(rf"\b{e}\b", found.upper().replace("-", " "))]
    return _joined("-".join(["CC-BY", *there]), version)


def _spelt(found: str, version: str | None) -> str:
    return _elements(" ".join(e for e, pattern in _WORDS if re.search(pattern, found, re.I)), version)


def _named(name: str) -> Callable[[re.Match[str]], str]:
    return lambda m: name


def _versioned(name: str, default: str | None = None) -> Callable[[re.Match[str]], str]:
    return lambda m: _joined(name, m[1] or default)


def _gnu(m: re.Match[str]) -> str:
    kind = {"affero": "AGPL", "lesser": "LGPL", "library": "LGPL"}.get((m[1] or "").strip().lower(), "GPL")
    return _joined(kind, m[2])


# (what must be in the text, as it stands or, when in lower case, in any case; the pattern; the name it stands for)
_RULES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        "creativecommons.org",
        re.compile(r"creativecommons\.org/licen[sc]es/(by(?:-(?:nc|nd|sa))*)(?:/(\d\.\d))?", re.I),
        lambda m: _elements(m[1], m[2]),
    ),
    ("creativecommons.org", re.compile(r"creativecommons\.org/publicdomain/zero/1\.0", re.I), _named("CC0-1.0")),
    ("creativecommons.org", re.compile(r"creativecommons\.org/publicdomain/mark/1\.0", re.I), _named(PUBLIC)),
    ("CC", re.compile(rf"\bCC[\s-]BY{_CC_BY}\b{_VERSION}"), lambda m: _elements(m[1], m[2])),
    ("CC0", re.compile(r"\bCC0\b"), _named("CC0-1.0")),
    (
        "creative",
        re.compile(rf"\bCreative\s+Commons[\s:,–-]*(?:attribution|attribuzione)((?:[\s,/–-]*(?:{_ELEMENTS}))*){_VERSION}", re.I),
        lambda m: _spelt(m[1], m[2]),
    ),
    (
        "domain",
        re.compile(
            rf"\b(?:this|the)\s+(?:\w+\s+)?{_WORK}\s+(?:is|are)\s+in\s+the\s+public\s+domain\b|"
            r"\b(?:releas\w+|dedicat\w+|placed?)\s+(?:(?:it|them|this\s+\w+)\s+)?(?:in|into|to)\s+the\s+public\s+domain\b|"
            r"\blicen[sc]e\s*:\s*public\s+domain\b",
            re.I,
        ),
        _named(PUBLIC),
    ),
    (
        "dominio",
        re.compile(
            rf"\b(?:quest[ao]\s+|quest['’]\s?|il\s+|l['’]\s?){_OPERA}\s+(?:è|e['’]|sono)\s+(?:di|nel|in)\s+(?:pubblico\s+dominio|dominio\s+pubblico)\b|"
            rf"\b(?:rilasciat|distribuit)[aoei]\s+(?:nel|in|come)\s+(?:pubblico\s+dominio|dominio\s+pubblico)\b|"
            r"\blicenza\s*:\s*(?:pubblico\s+dominio|dominio\s+pubblico)\b",
            re.I,
        ),
        _named(PUBLIC),
    ),
    ("apache", re.compile(r"\bApache[\s-]+(?:Software\s+)?Licen[sc]e,?(?:\s*,?\s*(?:v|version)?\s*(2\.0))?", re.I), _versioned("Apache")),
    (
        "apache",
        re.compile(r"\bapache\.org/licenses/LICENSE-(2\.0)|\bApache-(?:2\.0)\b|\blicenza\s+Apache\s+2\.0", re.I),
        _named("Apache-2.0"),
    ),
    ("MIT", re.compile(r"\bMIT[\s-]+[Ll]icen[sc]e\b|\b[Ll]icenza\s+MIT\b|\bopensource\.org/licenses/MIT\b"), _named("MIT")),
    (
        "hereby",
        re.compile(r"\bPermission\s+is\s+hereby\s+granted,\s+free\s+of\s+charge,\s+to\s+any\s+person\s+obtaining", re.I),
        _named("MIT"),
    ),
    (
        "bsd",
        re.compile(r"\bBSD[\s-]([23])[\s-]Clause\b|\b(?:BSD\s+licen[sc]e|licenza\s+BSD)\b", re.I),
        lambda m: f"BSD-{m[1]}-Clause" if m[1] else "BSD",
    ),
    ("gnu", re.compile(rf"\bGNU\s+(Affero\s+|Lesser\s+|Library\s+)?General\s+Public\s+Licen[sc]e\b,?{_VERSION}", re.I), _gnu),
    ("GPL", re.compile(r"\b([AL]?GPL)[\s-]?(?:v|version\s+)?([123](?:\.[01])?)\b"), lambda m: _joined(m[1], m[2])),
    ("gnu", re.compile(rf"\bGNU\s+Free\s+Documentation\s+Licen[sc]e\b,?{_VERSION}", re.I), _versioned("GFDL")),
    ("mozilla", re.compile(rf"\bMozilla\s+Public\s+Licen[sc]e\b,?{_VERSION}", re.I), _versioned("MPL")),
    ("EUPL", re.compile(rf"\bEUPL\b{_VERSION}"), _versioned("EUPL")),
    ("european union", re.compile(rf"\bEuropean\s+Union\s+Public\s+Licen[sc]e\b,?{_VERSION}", re.I), _versioned("EUPL")),
    ("iodl", re.compile(rf"\bIODL\b/?{_VERSION}", re.I), _versioned("IODL")),
    ("italian open", re.compile(rf"\bItalian\s+Open\s+Data\s+Licen[sc]e\b,?{_VERSION}", re.I), _versioned("IODL")),
    ("ODbL", re.compile(r"\bODbL\b"), _named("ODbL-1.0")),
    ("open government", re.compile(rf"\bOpen\s+Government\s+Licen[sc]e\b,?{_VERSION}", re.I), _versioned("OGL-UK")),
    ("riservat", re.compile(r"\btutti\s+i\s+diritti\s+(?:sono\s+)?riservati\b|\briproduzione\s+riservata\b", re.I), _named(RESERVED)),
    ("reserved", re.compile(r"\ball\s+rights\s+(?:are\s+)?reserved\b", re.I), _named(RESERVED)),
)
_ANCHORS = tuple(dict.fromkeys(anchor for anchor, _, _ in _RULES))


def find(text: str) -> list[str]:
    """Names of the licences that the text states, sorted. 'CC-BY' is left out where 'CC-BY-4.0' stands as well."""
    low = text.lower()
    there = {anchor for anchor in _ANCHORS if anchor in (low if anchor.islower() else text)}
    found = {name(m) for anchor, pattern, name in _RULES if anchor in there for m in pattern.finditer(text)}
    return sorted(n for n in found if not any(re.fullmatch(re.escape(n) + r"-\d\.\d", other) for other in found))


def of_document(text: str, metadata: str | None) -> list[str]:
    """The same for a document: its text, and the `licence` or `license` of its metadata (a JSON object)."""
    try:
        stated = json.loads(metadata) if metadata else {}
    except ValueError:
        stated = {}
    own = [str(stated[key]) for key in ("licence", "license") if stated.get(key)] if isinstance(stated, dict) else []
    return sorted(set(find(text)).union(*map(find, own)))
