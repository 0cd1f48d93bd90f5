"""Personal data with a form of its own, in any language: a rule is a pattern, a check, and the words that announce it.

A rule gives a score without and with an announcing word (a *cue*) shortly before the match; a check may refuse the match,
or settle its score and its extent. Scores under FLOOR are not worth keeping. Language rules are in italian.py, english.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from filters.pii import checks
from filters.pii.spans import Span

FLOOR = 0.3
REACH = 48  # characters before a match in which a cue counts


@dataclass(frozen=True)
class Rule:
    """`check(match, cued)` returns (start, end, score), or None to refuse; without it the scores are `plain` and `cued`.

    Where the pattern has a group named `x`, that group is the personal data and the rest its surroundings.
    """

    kind: str
    pattern: re.Pattern[str]
    plain: float = 0.0
    cued: float = 0.0
    cue: re.Pattern[str] | None = None
    check: Callable[[re.Match[str], bool], tuple[int, int, float] | None] | None = None
    needs: str = ""  # a character without which the pattern cannot match: saves the scan


def scan(rules: tuple[Rule, ...], text: str) -> Iterator[Span]:
    """Every match of every rule, overlaps included."""
    for rule in rules:
        if rule.needs and rule.needs not in text:
            continue
        group = "x" if "x" in rule.pattern.groupindex else 0
        for match in rule.pattern.finditer(text):
            start, end = match.span(group)
            cued = bool(rule.cue and rule.cue.search(text, max(0, start - REACH), start))
            if rule.check:
                found = rule.check(match, cued)
            else:
                found = (start, end, rule.cued if cued else rule.plain)
            if found and found[2] >= FLOOR:
                yield Span(found[0], found[1], rule.kind, found[2])


def words(*alternatives: str) -> re.Pattern[str]:
    """A cue: any of these (regular expressions) as whole words, with nothing of weight between it and the match."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)[^\n\d<>]{{0,24}}$", re.IGNORECASE)


def compact(text: str) -> str:
    """Without spaces, dots, dashes and slashes, upper case."""
    return re.sub(r"[\s.\-/]", "", text).upper()


def _iban(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    length = checks.iban_length(match[0][:2])
    seen = 0
    for offset, char in enumerate(match[0]):
        seen += char not in " -"
        if seen == length:
            end = match.start() + offset + 1
            if match.string[end : end + 1].isalnum() and not char.isspace():
                return None
            valid = checks.iban(compact(match.string[match.start() : end]))
            return (match.start(), end, 0.99 if valid else 0.6 if cued else 0.0)
    return None


def _card(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    digits = compact(match[0])
    if not checks.luhn(digits):
        return None
    brand = checks.card_brand(digits)
    return (*match.span(), 0.95 if cued else 0.85 if brand else 0.35)


def _ip(match: re.Match[str], cued: bool) -> tuple[int, int, float] | None:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return None
    if address.is_unspecified or address.is_loopback or match[0].startswith("255."):
        return None
    looks_like_a_section = address.version == 4 and all(int(part) < 20 for part in match[0].split("."))
    return (*match.span(), 0.95 if cued else 0.35 if looks_like_a_section else 0.8)


COMMON = (
    Rule(
        "EMAIL",
        re.compile(
            r"(?<![\w.+%-])[\w.+%-]{1,64}(?:@|\s?[\[(](?:at|chiocciola)[\])]\s?)(?:[^\W_](?:[\w-]{0,62})\.)+[A-Za-z]{2,24}(?![\w@])"
        ),
        plain=0.95,
        cued=0.95,
    ),
    Rule(
        "IBAN",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){10,30}"),
        cue=words("iban", "conto", "account", "c/c"),
        check=_iban,
    ),
    Rule(
        "CARTA",
        re.compile(r"(?<![\d.,/-])[1-9](?:[ -]?\d){11,18}(?![\d/]|[.,]\d)"),
        cue=words("carta", "carte", "credito", "bancomat", "card", "cards", "credit", "visa", "mastercard", "amex"),
        check=_card,
    ),
    Rule(
        "IP",
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"),
        cue=words("ip", "ipv4", "indirizzo", "host", "server", "address", "dns", "gateway"),
        check=_ip,
    ),
    Rule("IP", re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})(?![\w:])"), check=_ip, cue=words("ip", "ipv6")),
    Rule(
        "IP", re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,6}:(?:[0-9A-Fa-f]{1,4}:){0,5}[0-9A-Fa-f]{1,4}(?![\w:])"), check=_ip, needs="::"
    ),
    Rule(
        "TELEFONO",
        re.compile(r"(?<![\w+.])(?:\+|00)[1-9]\d{0,2}[ .\-/]?\(?\d{1,4}\)?(?:[ .\-/]?\d{2,4}){2,4}(?!\w|[.,]\d)"),
        plain=0.75,
        cued=0.95,
        cue=words(r"tel\.?", r"cell\.?", "fax", "phone", "mobile", "telefono", "whatsapp"),
    ),
)
