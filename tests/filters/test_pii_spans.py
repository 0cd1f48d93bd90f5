"""Overlaps, protected places and replacement."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from filters.pii.spans import KINDS, Span, outside, protected, replace, resolve

SPANS = st.lists(
    st.builds(
        lambda start, length, kind, score: Span(start, start + length, kind, score),
        st.integers(0, 60),
        st.integers(1, 12),
        st.sampled_from(sorted(KINDS)),
        st.sampled_from([0.3, 0.5, 0.9]),
    ),
    max_size=25,
)


def test_the_longest_span_wins_then_the_surest() -> None:
    street, person = Span(0, 20, "INDIRIZZO", 0.5), Span(4, 15, "PERSONA", 0.9)
    assert resolve([person, street]) == [street]
    assert resolve([Span(0, 5, "CARTA", 0.5), Span(0, 5, "TELEFONO", 0.9)]) == [Span(0, 5, "TELEFONO", 0.9)]


@given(SPANS, st.randoms())
def test_resolved_spans_are_disjoint_cover_every_span_and_do_not_depend_on_order(spans: list[Span], random) -> None:
    chosen = resolve(spans)
    assert all(a.end <= b.start for a, b in pairwise(chosen))
    assert all(any(c.start < s.end and s.start < c.end for c in chosen) for s in spans)
    random.shuffle(spans)
    assert resolve(spans) == chosen


def test_replacement_keeps_what_is_between_and_numbers_on_request() -> None:
    text = "Mario Rossi e Anna Neri; Rossi, a@b.it"
    spans = [Span(0, 11, "PERSONA", 1.0), Span(14, 23, "PERSONA", 1.0), Span(25, 30, "PERSONA", 1.0), Span(32, 38, "EMAIL", 1.0)]
    assert replace(text, spans) == "<PERSONA> e <PERSONA>; <PERSONA>, <EMAIL>"
    assert replace(text, spans, numbered=True) == "<PERSONA_1> e <PERSONA_2>; <PERSONA_1>, <EMAIL_1>"


def test_markers_and_placeholders_are_protected() -> None:
    text = "<|im_start|>user\nCiao <PERSONA_2><|im_end|>\n<|im_start|>Mario Rossi\n"
    places = protected(text, chat=True)
    assert [text[a:b] for a, b in places] == ["<|im_start|>user", "<PERSONA_2>", "<|im_end|>", "<|im_start|>Mario Rossi"]
    assert list(outside([Span(17, 21, "PERSONA", 1.0), Span(18, 25, "PERSONA", 1.0), Span(57, 68, "PERSONA", 1.0)], places)) == [
        Span(17, 21, "PERSONA", 1.0)
    ]
