"""`athanor generate` and `athanor chat`: the current model, token by token.

`generate` continues a text with the base model; `chat` holds a conversation with the chat-tuned one, dropping the oldest
turns when they no longer fit its window. The same seed and the same words give the same text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.outcome import Misuse, Stop
from corpus.store import read_record
from corpus.workspace import Workspace
from flows.cli import answer
from flows.run import current

if TYPE_CHECKING:
    from model.decoder import Decoder
    from packer.bpe import Tokenizer

COMMANDS = "/new begins a new conversation, /exit or Ctrl-D ends"


class Voice:
    """A loaded model with its tokenizer and the way it samples."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
        self.model, self.tokenizer, self.args = model, tokenizer, args

    @classmethod
    def load(cls, args: argparse.Namespace, stage: str) -> Voice:
        """The current model of a workspace: `stage` is 'pretrain' or 'sft'."""
        folders = _folders(args.workspace, stage)
        import torch

        from model.generation import drafter
        from model.inference import prepare
        from model.state import load
        from packer.bpe import Tokenizer
        from train.numerics import resolve

        numerics = resolve(args.device, "auto", "off", 0)
        try:
            model = load(folders[stage], numerics.device, getattr(torch, numerics.dtype))
            voice = cls(prepare(model), Tokenizer.load(folders["tokenizer"]), args)
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            if args.device not in ("auto", "cpu") and isinstance(error, RuntimeError):
                raise Misuse(f"The device '{args.device}' cannot be used on this machine. Leave --device out.") from error
            raise Stop(
                f"The model of '{stage}' cannot be read: `athanor verify -w {args.workspace}` says what is wrong with it."
            ) from error
        try:
            drafter(voice.model, args.speculative)
        except ValueError as error:
            raise Misuse(f"Nothing can draft as --speculative says: {error}. Leave it out.") from error
        return voice

    def speak(self, prompt: Sequence[int], seed: int) -> Iterator[str]:
        """Pieces of text as they come; a character is told when all its bytes are there."""
        from model.generation import Sampling, stream

        t, a = self.tokenizer, self.args
        sampling = Sampling(
            max_tokens=a.max_tokens,
            temperature=a.temperature,
            top_k=a.top_k,
            top_p=a.top_p,
            min_p=a.min_p,
            repetition_penalty=a.repetition_penalty,
            seed=seed,
            stop=(t.bos, t.im_start, t.im_end, t.pad),
            stop_strings=tuple(a.stop),
        )
        return (pieces[0].text for pieces in stream(self.model, [prompt], sampling, t.decode, a.speculative) if pieces[0].text)

    @property
    def window(self) -> int:
        return int(self.model.config.max_seq_len)


def generate(args: argparse.Namespace) -> int:
    """Continue a text; the text and its continuation go to stdout."""
    _sampling_is_sound(args)
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    voice = Voice.load(args, "pretrain")
    out = sys.stderr if args.json else sys.stdout
    print(prompt, end="", file=out, flush=True)
    pieces = _told(voice.speak([voice.tokenizer.bos, *voice.tokenizer.encode(prompt)], args.seed), out)
    print(file=out)
    if args.json:
        answer("generate", "done", _run_of(args), prompt=prompt, text="".join(pieces))
    return 0


def chat(args: argparse.Namespace) -> int:
    """A conversation; turns are read from stdin, one line each."""
    _sampling_is_sound(args)
    voice = Voice.load(args, "sft")
    out = sys.stderr if args.json else sys.stdout
    people = sys.stdin.isatty()
    if people:
        import readline  # noqa: F401 -- gives input() its line editing

        print(f"{voice.model.config.param_count():,} parameters; {COMMANDS}.", file=out)
    system = [{"role": "system", "content": args.system}] if args.system else []
    messages, turn = list(system), 0
    while (line := _asked(people)) is not None and line != "/exit":
        if line == "/new":
            messages = list(system)
            continue
        if not line:
            continue
        messages.append({"role": "user", "content": line})
        ids, messages = fitting(voice.tokenizer, messages, voice.window - min(args.max_tokens, voice.window // 2))
        reply = "".join(_told(voice.speak(ids, args.seed + turn), out)).strip()
        print(file=out)
        messages.append({"role": "assistant", "content": reply})
        turn += 1
    if args.json:
        answer("chat", "done", _run_of(args), messages=messages)
    return 0


def fitting(tokenizer: Any, messages: list[dict[str, str]], room: int) -> tuple[list[int], list[dict[str, str]]]:
    """Tokens that open the next reply, and the messages they hold: the oldest turns go first, the system's and the last stay."""
    while True:
        ids, _ = tokenizer.encode_chat(messages, reply=True)
        first = 1 if messages[0]["role"] == "system" else 0
        if len(ids) <= room or len(messages) - first <= 1:
            return ids, messages
        messages = messages[:first] + messages[first + 2 :]


def _told(pieces: Iterator[str], out: Any) -> list[str]:
    said = []
    for piece in pieces:
        print(piece, end="", file=out, flush=True)
        said.append(piece)
    return said


def _asked(people: bool) -> str | None:
    if people:
        try:
            return input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return None
    line = sys.stdin.readline()
    return line.strip() if line else None


def _folders(path: Path, stage: str) -> dict[str, Path]:
    workspace = Workspace.open(path)
    now = current(workspace)
    if now is None:
        raise Stop(f"The workspace '{path}' has no model yet: `athanor run RAW -w {path}` trains one.")
    if stage not in now["artifacts"]:
        raise Stop(
            "There is no chat model yet: it is made when there are conversations (ChatML in the chat/ folder of the raw folder). "
            f'`athanor generate -w {path} "..."` works with the base model.'
        )
    folders = {name: workspace.store / folder for name, folder in now["artifacts"].items()}
    for name in (stage, "tokenizer"):
        if read_record(folders[name]) is None:
            raise Stop(f"The current model's '{name}' is no longer in the store: `athanor run -w {path}` makes it again.")
    return folders


def _run_of(args: argparse.Namespace) -> str | None:
    now = current(Workspace.open(args.workspace))
    return now["run"] if now else None


def _sampling_is_sound(args: argparse.Namespace) -> None:
    if args.temperature < 0:
        raise Misuse("--temperature must be 0 or more.")
    for option, share in (("--top-p", args.top_p), ("--min-p", args.min_p)):
        if not 0 <= share <= 1:
            raise Misuse(f"{option} must lie between 0 and 1.")
    if "" in args.stop:
        raise Misuse("--stop must not be empty.")
    if args.repetition_penalty <= 0:
        raise Misuse("--repetition-penalty must be above 0; 1 is none.")
