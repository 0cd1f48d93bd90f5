"""ChatML text to messages, strictly.

    <|im_start|>user
    Ciao!<|im_end|>
    <|im_start|>assistant
    Ciao, come posso aiutarti?<|im_end|>

The form curated chat travels in, from extraction to training. What is not exactly that (another role, text between
messages, a missing end, no assistant) is a ValueError that names the message by number and never quotes it.
"""

from __future__ import annotations

START, END = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant", "tool")


def split(text: str) -> list[dict[str, str]]:
    """[{'role', 'content'}, ...] as they are written, whatever the roles are called."""
    messages: list[dict[str, str]] = []
    head, *pieces = text.split(START)
    if head.strip():
        raise ValueError("a ChatML text begins with <|im_start|>")
    for number, piece in enumerate(pieces, 1):
        body, end, rest = piece.partition(END)
        role, newline, content = body.partition("\n")
        if not end or not newline:
            raise ValueError(f"message {number} has no {END if newline else 'line with its role'}")
        if rest.strip():
            raise ValueError(f"there is text between message {number} and the next")
        messages.append({"role": role.strip(), "content": content})
    return messages


def parse(text: str) -> list[dict[str, str]]:
    """The messages of one conversation, their roles known, the assistant among them."""
    messages = split(text)
    for number, message in enumerate(messages, 1):
        if message["role"] not in ROLES:
            raise ValueError(f"message {number} has an unknown role; known are {', '.join(ROLES)}")
    if not any(m["role"] == "assistant" for m in messages):
        raise ValueError("nothing in this conversation is said by the assistant")
    return messages


def render(messages: list[dict[str, str]]) -> str:
    """The inverse of `parse`."""
    return "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)
