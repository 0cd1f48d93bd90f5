"""Raised and lowered characters as Unicode has them: H₂O, 10⁵, 1ª."""

from __future__ import annotations

RAISED = str.maketrans("0123456789+-−=()nioa", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱºª")
LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")


def script(text: str, table: dict[int, int]) -> str:
    """Raised or lowered characters in Unicode where it has them all, else as they are."""
    return text.translate(table) if all(ord(c) in table or c.isspace() for c in text) else text
