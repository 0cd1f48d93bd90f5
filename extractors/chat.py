"""Chat text: ChatML and the common row formats, to messages and back.

A message is {'role': 'system' | 'user' | 'assistant' | 'tool', 'content': str}; corpus.chatml is the form they are kept in,
here is what people write: other names of the roles, JSON rows. A content that itself holds one of the two markers is refused: it
could not be told from structure again.
"""

from __future__ import annotations

from typing import Any

from corpus import chatml

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "utente": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistente": "assistant",
    "tool": "tool",
    "function": "tool",
}
Message = dict[str, str]


def parse(text: str) -> list[Message] | None:
    """Messages of a ChatML text, None when it is not valid: a role is unknown, text lies outside messages, no assistant speaks."""
    try:
        messages = chatml.split(text)
    except ValueError:
        return None
    return checked([{"role": m["role"], "content": m["content"].strip("\n")} for m in messages])


def render(messages: list[Message]) -> str:
    """ChatML of these messages. Raises ValueError when a content holds a marker or a role is unknown."""
    good = checked(messages)
    if good is None:
        raise ValueError("these messages have no ChatML form")
    return chatml.render(good)


def checked(messages: list[Message]) -> list[Message] | None:
    """The messages with canonical roles, None when they are no usable conversation."""
    out = []
    for message in messages:
        role = ROLES.get(message["role"].strip().lower())
        content = message["content"]
        if role is None or chatml.START in content or chatml.END in content:
            return None
        out.append({"role": role, "content": content})
    spoken = [m for m in out if m["content"].strip()]
    if not any(m["role"] == "assistant" for m in spoken) or not any(m["role"] == "user" for m in spoken):
        return None
    return out


def messages_of(row: Any) -> list[Message] | None:
    """Messages of a JSON row in one of the common formats, None when it is none of them.

    {messages: [{role, content}]}, {conversations: [{from, value}]}, {instruction, input?, output}, {prompt, response|completion},
    {question, answer}, a bare list of messages; `system` beside any of them.
    """
    if isinstance(row, list):
        return _turns(row)
    if not isinstance(row, dict):
        return None
    for key in ("messages", "conversations", "conversation", "dialog"):
        if isinstance(row.get(key), list):
            return _turns(row[key], row.get("system"))
    if isinstance(row.get("text"), str) and chatml.START in row["text"]:
        return parse(row["text"])
    for asked, answered in (
        ("instruction", ("output", "response")),
        ("prompt", ("response", "completion", "chosen")),
        ("question", ("answer",)),
        ("domanda", ("risposta",)),
        ("istruzione", ("risposta", "output")),
    ):
        answer = next((row[key] for key in answered if isinstance(row.get(key), str)), None)
        if isinstance(row.get(asked), str) and answer is not None:
            extra = row.get("input") or row.get("context") or row.get("contesto") or ""
            prompt = f"{row[asked]}\n\n{extra}" if isinstance(extra, str) and extra.strip() else row[asked]
            return _turns([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], row.get("system"))
    return None


def _turns(turns: list[Any], system: Any = None) -> list[Message] | None:
    messages = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    for turn in turns:
        if not isinstance(turn, dict):
            return None
        role = turn.get("role", turn.get("from", turn.get("speaker")))
        content = turn.get("content", turn.get("value", turn.get("text")))
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        messages.append({"role": role, "content": content})
    return checked(messages)


def conversation(data: bytes) -> list[Message] | None:
    """Messages in the bytes of a member: ChatML text or one JSON row. None when there is no valid conversation."""
    import json

    from extractors.decode import decode

    text, _ = decode(data)
    if text.lstrip().startswith(chatml.START):
        return parse(text)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return messages_of(json.loads(text))
        except (ValueError, RecursionError):
            return None
    return None
