"""Italian forms of personal data: codice fiscale, partita IVA, phones, addresses, plates, documents, dates of birth."""

from __future__ import annotations

import re

from filters.pii import checks
from filters.pii.patterns import Rule, compact, words

_PHONE_CUE = words(
    r"tel\.?",
    r"tel\. ?(?:uff|ab|e ?fax)\.?",
    r"telefon\w*",
    r"cell\.?",
    r"cellulare",
    r"fax",
    r"mobile",
    r"whatsapp",
    r"recapit\w*",
    r"numero verde",
    r"phone",
    r"chiam\w+",
    r"num\.",
)
_MONTHS = "gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre"
_DATE = rf"(?:\d{{1,2}}[./\- ]\d{{1,2}}[./\- ]\d{{2,4}}|\d{{1,2}}[°º]?\s+(?:{_MONTHS})\s+\d{{4}}|\d{{4}}-\d{{2}}-\d{{2}})"
_UPPER = "A-ZÀ-ÖØ-Þ"
_ODONYM = (
    r"(?:[Vv]ia|[Vv]iale|[Vv]\.le|[Pp]iazza|[Pp]\.(?:zz?a|za)|[Pp]iazzale|[Pp]\.le|[Pp]iazzetta|Corso|C\.so|"
    r"[Ll]argo|L\.go|[Vv]icolo|[Vv]ico|[Ss]trada|[Cc]ontrada|[Cc]\.da|"
    r"[Ll]ungomare|[Ll]ungotevere|[Ll]ungarno|Località|[Ll]oc\.|Frazione|[Ff]raz\.|Salita|Calle|Borgo|Traversa|"
    r"Galleria|VIA|VIALE|PIAZZA|CORSO|LARGO|VICOLO|STRADA|P\.ZZA)"
)
_STREET = rf"(?:(?:[{_UPPER}\d][\w'’.°]*|d[eai]l?(?:l[aeo]|gli|i)?|d[’']|dell[’']|e|ed)(?:[ \t]+|(?<=['’]))){{0,6}}[{_UPPER}\d][\w'’.]*"
_NUMBER = r"(?:n\.?[°º]?|nr\.?|num\.?|numero|civico)?[ \t]*\d{1,4}(?:[ \t]?/[ \t]?\w{1,3}|[A-Za-z](?!\w)|[ \t]+(?:bis|ter))?"
_PLACE = (
    rf"(?:[ \t]*,?[ \t]*(?:int(?:erno)?\.?|scala|piano|sc\.)[ \t]*\w{{1,3}}){{0,3}}"
    rf"(?:[ \t]*[,;–-]?[ \t\n]{{0,2}}(?:[–-][ \t]*)?"
    rf"(?:I-)?\d{{5}}(?!\d)[ \t]*[,–-]?[ \t]*(?:[{_UPPER}][\w'’]+(?:[ \t]+(?:(?:d[eai]l?(?:l[aeo])?|in|"
    rf"sul)[ \t]+)?[{_UPPER}][\w'’]+){{0,3}}(?:[ \t]*\(?[A-Z]{{2}}(?!\w)\)?)?)?)?"
)


def _codice_fiscale(match: re.Match[str], cued: bool) -> tuple[int, int, float]:
    code = compact(match[0])
    return (*match.span(), 0.99 if checks.codice_fiscale(code) else 0.9 if cued else 0.5)


def _partita_iva(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    if not checks.partita_iva(match["n"]):
        return (*match.span(), 0.6) if cued else None
    return (*match.span(), 0.97 if cued else 0.8 if match["it"] else 0.5)


def _street(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    name = match["street"].split()
    if name[0].lower() in {"di", "n", "n."} or (name[0].isdigit() and len(name) == 1):
        return None
    return (*match.span(), 0.95 if cued else 0.85)


ITALIAN = (
    Rule(
        "CF",
        re.compile(
            r"(?<![A-Za-z0-9])"
            r"[A-Z]{3}[ ]?[A-Z]{3}[ ]?[0-9LMNP-V]{2}[ ]?[A-EHLMPRST][ ]?[0-9LMNP-V]{2}[ ]?[A-Z][ ]?[0-9LMNP-V]{3}[ ]?[A-Z](?![A-Za-z0-9])"
            r"|(?<![A-Za-z0-9])[a-z]{6}\d{2}[abcdehlmprst]\d{2}[a-z]\d{3}[a-z](?![A-Za-z0-9])"
        ),
        cue=words(r"codice fiscale", r"c\.? ?f\.?", r"cod\. ?fisc\.?"),
        check=_codice_fiscale,
    ),
    Rule(
        "PIVA",
        re.compile(r"(?<![\w.,/-])(?P<it>IT[ ]?)?(?P<n>\d{11})(?![\w/-]|[.,]\d)"),
        cue=words(r"partita iva", r"p\. ?iva", r"p\. ?i\.?", r"piva", r"iva", r"vat", r"c\.? ?f\.?", r"codice fiscale", r"IdCodice"),
        check=_partita_iva,
    ),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w+.,/-])3[2-9]\d(?:[ ./-]?\d{6,7}|[ .-]\d{3}[ .-]?\d{3,4}|[ .-]\d{2}[ .-]\d{2}[ .-]\d{2,3})(?![\w]|[.,/-]\d)"),
        plain=0.6,
        cued=0.95,
        cue=_PHONE_CUE,
    ),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w+.,/-])0[1-9]\d{0,2}[ ./-]{1,2}\d{2,4}(?:[ .]?\d{2,4}){1,2}(?![\w]|[.,/-]\d)"),
        plain=0.35,
        cued=0.95,
        cue=_PHONE_CUE,
    ),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w+.,/-])\(?0?\d{2,4}\)?[ ./-]{0,3}\d{2,4}(?:[ .-]?\d{2,4}){0,3}(?![\w]|[/-]\d)"),
        plain=0.0,
        cued=0.8,
        cue=re.compile(
            r"(?<!\w)(?:tel(?:efono)?\.?|cell(?:ulare)?\.?|fax|whatsapp)(?: ?[/e] ?fax\.?)?(?: n\.?[°º]?| numero)?[ \t:.]{0,3}\+?$", re.I
        ),
    ),
    Rule(
        "INDIRIZZO",
        re.compile(
            rf"(?<![\w'’]){_ODONYM}[ \t]+(?P<street>{_STREET})[ \t]*,?[ \t]*{_NUMBER}(?![\w/]|[.,]\d|[ \t]*(?:{_MONTHS}))(?:{_PLACE})"
        ),
        cue=words(r"residen\w+", r"domicili\w+", r"indirizzo", r"sede", r"sit[oa]", r"abitante", r"abita", r"dimora\w*", r"presso"),
        check=_street,
    ),
    Rule(
        "INDIRIZZO",
        re.compile(
            rf"(?:residente|domiciliat[oa]|abitante|dimorante)(?:[ \t]+(?:a|"
            rf"in)[ \t]+[{_UPPER}][\w'’]+(?:[ \t]+[{_UPPER}][\w'’]+)?(?:[ \t]*\([A-Z]{{2}}\))?)?[ \t]*,?[ \t]*(?:alla|"
            rf"in|al)?[ \t]*(?P<x>{_ODONYM}[ \t]+{_STREET})"
        ),
        plain=0.7,
        cued=0.7,
    ),
    Rule(
        "TARGA",
        re.compile(r"(?<![\w.])[A-HJ-NPR-TV-Z]{2}[ -]?\d{3}[ -]?[A-HJ-NPR-TV-Z]{2}(?![\w])"),
        plain=0.55,
        cued=0.95,
        cue=words(r"targa\w*", r"auto\w*", r"veicolo", r"motociclo", r"furgone", r"vettura"),
    ),
    Rule(
        "TARGA",
        re.compile(
            r"targat\w[ \t]+(?:n\.?[ \t]*)?(?P<x>(?:[A-Z]{2}|Roma)[ -]?[A-Z0-9]{5,6})(?!\w)|"
            r"targa[ \t:]+(?:n\.?[ \t]*)?(?P<y>[A-Z]{2}[ -]?\d[A-Z0-9]{4,5})(?!\w)"
        ),
        plain=0.9,
        check=lambda m, cued: (*m.span("x" if m["x"] else "y"), 0.9),
    ),
    Rule(
        "DOCUMENTO",
        re.compile(r"(?<!\w)[A-Z]{2}[ ]?\d{5}[ ]?[A-Z]{2}(?!\w)"),
        plain=0.5,
        cued=0.95,
        cue=words(r"identit[àa]'?", r"c\.? ?i\.? ?e?\.?", r"documento\w*", r"carta"),
    ),
    Rule(
        "DOCUMENTO",
        re.compile(r"(?<!\w)(?:[A-Z]{2}[ ]?\d{7}[A-Z]?|U1[0-9A-Z]{7}[A-Z]|[A-Z]{2}\d{6,8})(?!\w)"),
        plain=0.0,
        cued=0.9,
        cue=words(r"identit[àa]'?", r"c\.? ?i\.?", r"documento\w*", r"passaporto", r"patente", r"carta d['’]identit\w'?"),
    ),
    Rule("DOCUMENTO", re.compile(r"(?<!\d)80380\d{15}(?!\d)"), plain=0.9),
    Rule(
        "DATA_NASCITA",
        re.compile(
            rf"\b[Nn]at[oaie][ \t]+(?:(?:a|in|ad)[ \t]+[^\n,;:]{{2,40}}?[ \t]*,?[ \t]*)?(?:il|l['’]|"
            rf"in data)[ \t]*(?:giorno[ \t]+)?(?P<x>{_DATE})"
        ),
        plain=0.95,
    ),
    Rule(
        "DATA_NASCITA",
        re.compile(rf"(?:[Dd]ata (?:e luogo )?di nascita|[Nn]ascita|DATA DI NASCITA|[Nn]at[oa])[ \t]*[:=]?[ \t]*(?P<x>{_DATE})"),
        plain=0.95,
    ),
)
