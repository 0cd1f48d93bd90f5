"""What changed in a text: changed lines only, and inside a changed line the changed words as [-old-]{+new+}.

Limits: long runs of changed lines are shown whole, without word marks, where comparing words would take too long.
"""

from __future__ import annotations

import difflib
import re

WORDS = 4000  # words compared inside one changed stretch
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


def changes(before: str, after: str, context: int = 0) -> list[str]:
    """Lines: '  same', '- removed', '+ added', '~ changed [-old-]{+new+}', '@ line number' before each stretch."""
    old, new = before.splitlines(), after.splitlines()
    lines: list[str] = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=len(old) + len(new) > 5000).get_grouped_opcodes(context):
        lines.append(f"@ line {group[0][1] + 1}")
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                lines += [f"  {line}" for line in old[i1:i2]]
            elif kind == "replace":
                lines += _replaced(old[i1:i2], new[j1:j2])
            else:
                lines += [f"- {line}" for line in old[i1:i2]] + [f"+ {line}" for line in new[j1:j2]]
    return lines


def _replaced(old: list[str], new: list[str]) -> list[str]:
    a, b = _TOKEN.findall("\n".join(old)), _TOKEN.findall("\n".join(new))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if len(a) + len(b) > WORDS or matcher.quick_ratio() < 0.3:
        return [f"- {line}" for line in old] + [f"+ {line}" for line in new]
    pieces = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        gone, come = "".join(a[i1:i2]), "".join(b[j1:j2])
        if kind == "equal":
            pieces.append(gone)
        else:
            pieces.append((f"[-{_seen(gone)}-]" if gone else "") + (f"{{+{_seen(come)}+}}" if come else ""))
    return [f"~ {line}" for line in "".join(pieces).split("\n")]


def _seen(text: str) -> str:
    """White space and invisible characters made visible, since they are often all that changed."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥").replace("\u00a0", "␣").replace("\u00ad", "‧")
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
