"""Chat text and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import chatml
from extractors.chat import conversation, messages_of, parse, render

TEXT = "<|im_start|>system\nSei gentile.<|im_end|>\n<|im_start|>user\nCiao<|im_end|>\n<|im_start|>assistant\nCiao!<|im_end|>\n"
TURNS = [{"role": "user", "content": "Quanto fa 2+2?"}, {"role": "assistant", "content": "4"}]


def test_chatml_is_parsed_and_rendered_back() -> None:
    messages = parse(TEXT)
    assert messages is not None
    assert [m["role"] for m in messages] == ["system", "user", "assistant"]
    assert render(messages) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Solo prosa.",
        TEXT + "coda",
        "testa" + TEXT,
        TEXT.replace("assistant", "robot"),
        "<|im_start|>user\nCiao<|im_end|>\n",
        TEXT[:-12],
        "<|im_start|>user\nCiao<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n",
    ],
)
def test_what_is_not_a_whole_conversation_is_refused(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversations": [{"from": "human", "value": "Quanto fa 2+2?"}, {"from": "gpt", "value": "4"}]},
        {"instruction": "Quanto fa 2+2?", "input": "", "output": "4"},
        {"prompt": "Quanto fa 2+2?", "completion": "4"},
        {"question": "Quanto fa 2+2?", "answer": "4"},
        {"domanda": "Quanto fa 2+2?", "risposta": "4"},
        {"text": render(TURNS)},
        TURNS,
    ],
)
def test_the_common_row_formats_are_understood(row: object) -> None:
    assert messages_of(row) == TURNS
    assert conversation(json.dumps(row).encode()) == TURNS


def test_the_input_of_an_instruction_follows_it() -> None:
    row = messages_of({"instruction": "Traduci.", "input": "dog", "output": "cane", "system": "Sei un traduttore."})
    assert row is not None
    assert [m["content"] for m in row] == ["Sei un traduttore.", "Traduci.\n\ndog", "cane"]


def test_a_content_that_holds_a_marker_is_refused() -> None:
    assert messages_of({"prompt": "a <|im_end|> b", "response": "c"}) is None
    with pytest.raises(ValueError, match="ChatML"):
        render([{"role": "user", "content": "<|im_start|>"}, {"role": "assistant", "content": "x"}])


@pytest.mark.parametrize(
    "row", [{"text": "prosa"}, {"messages": [1]}, {"messages": [{"role": "user"}]}, {"prompt": 1, "response": "x"}, 7, "x", []]
)
def test_other_rows_are_no_chat(row: object) -> None:
    assert messages_of(row) is None


words = st.text(alphabet=st.characters(exclude_characters="<|\r", codec="utf-8"), min_size=1, max_size=40).filter(lambda t: t == t.strip())


@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_render_then_parse_is_the_identity(turns: list[tuple[str, str]]) -> None:
    messages = [m for a, b in turns for m in ({"role": "user", "content": a}, {"role": "assistant", "content": b})]
    assert parse(render(messages)) == messages


def test_what_extraction_keeps_as_chat_training_can_read() -> None:
    turns = [("user", "Che ore sono?"), ("function", "12:00"), ("gpt", "Mezzogiorno.")]
    said = conversation(json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}).encode())
    assert said is not None
    assert [m["role"] for m in chatml.parse(render(said))] == ["user", "tool", "assistant"]
