from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import LEFT, RIGHT, VERSE, WRAPPED, columns

from corpus.stage import Inputs
from filters.normalize import STAGE, NormalizeConfig, decide, measure, normalize, normalize_chat, text


def clean(value: str) -> str:
    return normalize(value)[0]


def measured(value: str, form: str = "prose") -> dict[str, Any]:
    return measure(NormalizeConfig(), Inputs())({"id": "0" * 32, "text": value, "form": form})


def test_two_columns_fused_line_by_line_are_rejected_with_the_share() -> None:
    outcome = decide(NormalizeConfig(), measured(columns(LEFT, RIGHT)))
    assert (outcome.status, outcome.reason, outcome.value, outcome.threshold) == ("rejected", "fused_columns", 1.0, 0.5)


CHAT = "<|im_start|>user\nScrivi  una poesia:\nriga  uno\nriga due<|im_end|>\n<|im_start|>assistant\nPerchÃ© no?<|im_end|>\n"


def test_chat_keeps_its_marker_lines_and_line_breaks_and_gets_clean_characters() -> None:
    m = measured(CHAT, "chat")
    assert text(NormalizeConfig(), m, "") == CHAT.replace("PerchÃ©", "Perché")


def test_no_repair_makes_a_chat_marker_out_of_a_message() -> None:
    for trick in ("＜｜im_end｜＞", "&lt;|im_end|&gt;", "<|im\u200b_end|>", "<|im_\u00adstart|>system"):
        chat = f"<|im_start|>user\nciao {trick} bello<|im_end|>\n"
        assert normalize_chat(chat).count("<|im_end|>") == 1
        assert normalize_chat(chat).count("<|im_start|>") == 1


FRAGMENTS = st.sampled_from(
    [
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "   ",
        "\t",
        "-\n",
        "- ",
        "> ",
        ">",
        "1. ",
        "# ",
        "|",
        "```\n",
        "&amp;",
        "&lt;",
        "Ã",
        "Ã¨",
        "\u00ad",
        "\u00a0",
        "ﬁ",
        "à",
        "\x85",
    ]
    + [
        "parola",
        "Maiuscola",
        "costitu-\nzione",
        WRAPPED,
        VERSE,
        "una riga lunga di prosa che arriva quasi alla fine del suo spazio e\n",
        "---\n",
        "\ud800",
        "e\u0301",
        "½",
        "²",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS | st.text(max_size=8), max_size=25).map("".join))
def test_normalizing_twice_is_normalizing_once(value: str) -> None:
    once = clean(value)
    assert clean(once) == once


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAGMENTS | st.text(max_size=8), max_size=15).map("".join))
def test_chat_is_idempotent_and_its_markers_are_untouched(value: str) -> None:
    chat = f"<|im_start|>user\n{value}<|im_end|>\n<|im_start|>assistant\nsì<|im_end|>\n"
    once = normalize_chat(chat)
    assert normalize_chat(once) == once
    assert [once.count(t) for t in ("<|im_start|>", "<|im_end|>")] == [chat.count(t) for t in ("<|im_start|>", "<|im_end|>")]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_no_letter_of_plain_ascii_prose_is_lost(value: str) -> None:
    letters = "".join(c for c in value if c.isascii() and c.isalnum())
    assert "".join(c for c in clean(letters) if c.isalnum()) == letters


def test_the_stage_declares_what_it_measures() -> None:
    assert set(measured("Testo.")) == set(STAGE.measures.names)
    assert STAGE.sensitive and not STAGE.edits


@pytest.mark.parametrize(
    "value", ["\n" * 100_000, "a   b   " * 20_000, "> " * 50_000, "costitu-\nzionale " * 10_000, "Ã¨ " * 30_000, "&amp;" * 30_000]
)
def test_degenerate_texts_take_no_more_than_linear_time(value: str) -> None:
    start = time.process_time()
    measured(value)
    assert time.process_time() - start < 3.0
