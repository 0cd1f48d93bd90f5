"""English and US forms of personal data: phones, addresses, social security and document numbers, dates of birth."""

from __future__ import annotations

import re

from filters.pii import checks
from filters.pii.patterns import Rule, words

_MONTHS = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|"
    "Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATE = (
    rf"(?:\d{{1,2}}[./\-]\d{{1,2}}[./\-]\d{{2,4}}|\d{{4}}-\d{{2}}-\d{{2}}|{_MONTHS}\.?\s+\d{{1,2}}(?:st|nd|rd|"
    rf"th)?,?\s+\d{{4}}|\d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTHS}\.?,?\s+\d{{4}})"
)
_PHONE_CUE = words(
    "phone", r"tel\.?", "telephone", "call", "mobile", "cell", "fax", "number", "reach", "contact", "text", "whatsapp", "dial"
)
_STREET_WORD = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Terrace|Way|"
    r"Highway|Hwy|Parkway|Pkwy|Circle|Cir|Crescent|Close|Row|Alley|Trail|Loop|Broadway)"
)
_CAP = r"[A-ZÀ-ÖØ-Þ0-9][\w'’.-]*"
_UNIT = r"(?:,?\s{1,3}(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.?\s?#?\w{1,6})"
_CITY = rf"(?:\s{{0,3}},?\s{{1,3}}{_CAP}(?:[ ]{_CAP}){{0,3}})"
_ZIP = r"(?:,?\s{1,3}(?:[A-Z]{2}\s{1,3})?\d{5}(?:-\d{4})?(?!\d))"


def _ssn(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    area, group, serial = (int(match[i]) for i in (1, 2, 3))
    return (*match.span(), 0.95 if cued else 0.85) if checks.us_ssn(area, group, serial) else None


ENGLISH = (
    Rule(
        "SSN",
        re.compile(r"(?<![\w-])(\d{3})-(\d{2})-(\d{4})(?![\w-])"),
        cue=words("ssn", "social security", "social"),
        check=_ssn,
        needs="-",
    ),
    Rule("SSN", re.compile(r"(?:SSN|[Ss]ocial [Ss]ecurity(?: [Nn]umber)?)[ :#]{1,3}(?:is )?(?P<x>\d{3} ?\d{2} ?\d{4})(?!\d)"), plain=0.9),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w.(+/-])(?:1[ .-])?(?:\(\d{3}\)[ ]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?:[ ]?(?:x|ext\.?)[ ]?\d{1,5})?(?![\w-])"),
        plain=0.7,
        cued=0.95,
        cue=_PHONE_CUE,
    ),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w.+/-])\(?\d{2,4}\)?(?:[ .-]\d{2,4}){1,4}(?![\w-]|[.,]\d)"),
        plain=0.0,
        check=lambda m, cued: (*m.span(), 0.7) if cued and 7 <= sum(c.isdigit() for c in m[0]) <= 12 else None,
        cue=_PHONE_CUE,
    ),
    Rule(
        "INDIRIZZO",
        re.compile(
            rf"(?<![\w.,$€£-])\d{{1,6}}[A-Za-z]?[ ](?:(?:N|S|E|W|NE|NW|SE|"
            rf"SW)\.?[ ])?(?:{_CAP}[ ]){{1,4}}{_STREET_WORD}(?!\w)\.?{_UNIT}?(?:{_CITY}?{_ZIP})?"
        ),
        plain=0.85,
    ),
    Rule("INDIRIZZO", re.compile(rf"(?<![\w.,$€£-])\d{{1,6}}[ ]{_CAP}(?:[ ]{_CAP}){{0,4}}{_UNIT}(?:{_CITY}{{0,3}}{_ZIP})?"), plain=0.75),
    Rule(
        "INDIRIZZO",
        re.compile(
            rf"(?<![\w-])(?:P\.?\s?O\.?\s?Box|PSC|Unit|CMR)[ ]\d{{1,6}}(?:,?\s(?:Box[ ]\d{{1,6}}))?(?:\s(?:APO|FPO|"
            rf"DPO)[ ]A[AEP][ ]\d{{5}}|{_CITY}?{_ZIP})?(?!\w)"
        ),
        plain=0.6,
    ),
    Rule(
        "INDIRIZZO",
        re.compile(
            rf"(?:[Aa]ddress(?: is)?:?|[Ll]iv(?:e|es|ed|ing) (?:at|in)|[Rr]esid(?:es?|ing) at|(?:[Ss]hip|[Dd]eliver|"
            rf"[Mm]ail|[Ss]end)(?:ped|ed)? (?:\w+ ){{0,3}}to)\s"
            rf"(?P<x>\d{{1,6}}[ ]{_CAP}(?:[ ]{_CAP}){{0,4}}{_UNIT}?(?:{_CITY}{{0,3}}{_ZIP})?)"
        ),
        plain=0.75,
    ),
    Rule(
        "DOCUMENTO",
        re.compile(r"(?<![\w-])(?=[A-Z]{0,3}\d)[A-Z0-9]{6,15}(?![\w-])"),
        plain=0.0,
        cued=0.8,
        cue=re.compile(
            r"(?:passport|driver['’]?s?['’]? licen[sc]e|driving licen[sc]e|identity card|ID card)(?: (?:no|number|"
            r"num)\.?)?(?: is| was)?[ :#]{1,3}$",
            re.I,
        ),
    ),
    Rule(
        "DATA_NASCITA",
        re.compile(
            rf"(?:[Bb]orn(?: on)?|[Dd]ate of [Bb]irth(?: is)?|DOB|D\.O\.B\.|[Bb]irth ?date|"
            rf"[Bb]irthday(?: is)?)[ :]{{1,2}}(?:in [A-Z]\w+ )?(?:on )?(?P<x>{_DATE})"
        ),
        plain=0.95,
    ),
)
