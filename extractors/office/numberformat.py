"""Numbers and dates of a spreadsheet as its cells show them.

A cell holds 45352 or 0.1234 and its format says `dd/mm/yyyy` or `0.0%`. Decimals, per cent, currency signs, scaling and the order
of day and month are the format's. Two things are not in the file, since they follow the reader's system, and are fixed here: no
thousands are grouped and the decimal sign is a point; dates whose format is the system's own, or has names of months, are ISO.
"""

from __future__ import annotations

import datetime
import functools
import re

_TOKEN = re.compile(
    r'"([^"]*)"|\\(.)|\[\$([^\]\-]*)(?:-[^\]]*)?\]|\[[^\]]*\]|_.|\*.|([0#?][0#?,.]*|\.[0#?]+)|(E[+-]0+)|(%)|(@)|(General)|(.)', re.I
)
_DATE = re.compile(
    r'"([^"]*)"|\\(.)|\[\$[^\]]*\]|\[(h+|m+|s+)\]|\[[^\]]*\]|(AM/PM|A/P)|(y+|m+|d+|h+|s+)(\.0+)?|_.|\*.|(;.*)|(.)', re.I | re.S
)
_SYSTEM_DATES = ("mm-dd-yy", "m/d/yy", "d-mmm-yy", "d-mmm", "mmm-yy", "m/d/yy h:mm")


def plain(value: float) -> str:
    """A number in the General format: eleven digits, no trailing noise of binary fractions."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.11g}" if abs(value) < 1e11 else repr(value)


def shown(value: float, code: str, epoch: datetime.datetime) -> str:
    """The number as its format shows it; as General when the format is none that is understood."""
    if not code or code.lower() == "general" or code == "@":
        return plain(value)
    try:
        return _date(value, code, epoch) if is_date(code) else _number(value, code)
    except (ValueError, OverflowError, IndexError):
        return plain(value)


@functools.lru_cache(512)
def is_date(code: str) -> bool:
    """Whether the format shows a date or a time."""
    bare = re.sub(r'"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|_.|\*.', "", code.split(";")[0], flags=re.I)
    return bool(re.search(r"[ymdhs]", bare, re.I)) and not re.search(r"[0#?]", re.sub(r"s\.0+|ss\.0+", "", bare, flags=re.I))


def _number(value: float, code: str) -> str:
    sections = re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', code)
    section = sections[0]
    if len(sections) > 1 and value < 0:
        section, value = sections[1], -value
    elif len(sections) > 2 and value == 0:
        section = sections[2]
    tokens = _TOKEN.findall(section)
    pattern = "".join(token[3] for token in tokens)
    percents = sum(bool(token[5]) for token in tokens)
    if "/" in section and "?" in pattern:
        return plain(value)  # fractions
    scientific = next((token[4] for token in tokens if token[4]), "")
    out, done = [], False
    for quoted, escaped, currency, digits, exponent, percent, text, general, other in tokens:
        if digits:
            if not done:
                out.append(f"{value:.{_decimals(pattern)}E}" if scientific else _digits(value * 100**percents, pattern))
                done = True
        elif general or text:
            out.append(plain(value))
            done = True
        else:
            out.append(quoted or escaped or currency or ("" if exponent else percent or other))
    return "".join(out).strip()


def _decimals(pattern: str) -> int:
    return sum(c in "0#?" for c in pattern.partition(".")[2])


def _digits(value: float, pattern: str) -> str:
    scale = len(pattern) - len(pattern.rstrip(","))
    whole, _, fraction = pattern.rstrip(",").partition(".")
    text = f"{abs(value) / 1000**scale:.{_decimals(pattern)}f}"
    integer, _, decimals = text.partition(".")
    least = sum(c == "0" for c in fraction)
    while len(decimals) > least and decimals.endswith("0"):
        decimals = decimals[:-1]
    integer = integer.zfill(sum(c == "0" for c in whole)) if "0" in whole else ("" if integer == "0" and decimals else integer)
    sign = "-" if value < 0 and (integer.strip("0") or decimals.strip("0")) else ""
    return f"{sign}{integer}.{decimals}" if decimals else f"{sign}{integer}"


def _date(value: float, code: str, epoch: datetime.datetime) -> str:
    from openpyxl.utils.datetime import from_excel

    if re.search(r"\[(h+|m+|s+)\]", code, re.I):  # elapsed
        seconds = round(value * 86400)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}" + (f":{seconds % 60:02d}" if "s" in code.lower() else "")
    moment = from_excel(value, epoch)
    if isinstance(moment, datetime.time):
        moment = datetime.datetime.combine(datetime.date(1900, 1, 1), moment)
    if not isinstance(moment, datetime.datetime):
        return plain(value)
    moment = (moment + datetime.timedelta(microseconds=500_000)).replace(microsecond=0)
    tokens = _DATE.findall(code)
    letters = [token[4].lower() for token in tokens if token[4]]
    has_date, has_time = any(c in "yd" for t in letters for c in t), any(t[0] in "hs" for t in letters)
    if code.lower() in _SYSTEM_DATES or any(t in ("mmm", "mmmm", "mmmmm", "ddd", "dddd") for t in letters):
        day = moment.date().isoformat()
        return f"{day} {moment:%H:%M}" if has_time else day if has_date and "y" in "".join(letters) else day[5:] if has_date else day[:7]
    out, before = [], ""
    half = any(token[3] for token in tokens)
    for at, (quoted, escaped, _, meridian, letter, _fraction, rest, other) in enumerate(tokens):
        if rest:
            break
        if not letter:
            out.append(quoted or escaped or (f"{moment:%p}" if meridian else other))
            continue
        name = letter.lower()
        after = next((t[4].lower()[0] for t in tokens[at + 1 :] if t[4]), "")
        minutes = name[0] == "m" and (before == "h" or after == "s")
        number = {
            "y": moment.year if len(name) > 2 else moment.year % 100,
            "m": moment.minute if minutes else moment.month,
            "d": moment.day,
            "h": (moment.hour % 12 or 12) if half else moment.hour,
            "s": moment.second,
        }[name[0]]
        out.append(f"{number:0{4 if name[0] == 'y' and len(name) > 2 else 2 if name[0] == 'y' else min(len(name), 2)}d}")
        before = name[0]
    return "".join(out).strip()
