"""The tokenizer: byte-level BPE, lossless, with an exact byte length for every token.

Text becomes UTF-8 bytes, bytes become tokens; nothing is normalised, so decode(encode(x)) is x. The byte length of a
token comes from its bytes, never from decoding it alone (half a character decodes to U+FFFD and would count three).

Ordinary text can never produce a special token: `encode` reads `<|im_start|>` in a text as the characters it is made of.
Specials are set by id, by `encode_chat` and by whoever packs documents.

Pieces, before merging: an English contraction; a word with one leading space or mark and the apostrophe that elides it
(`dell'`, `articolo`, `capacita'`: the stem is the same token with and without an article); up to `digits` digits; marks;
line ends; spaces. No merge crosses a piece.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corpus.canonical import digest_bytes

if TYPE_CHECKING:
    import tokenizers

BOS, IM_START, IM_END, PAD = SPECIALS = ("<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>")  # ids 0 to 3
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CONTRACTION = r"['’](?i:[sdmt]|ll|ve|re)(?![\p{L}\p{M}])"
_WORD = rf"[^\r\n\p{{L}}\p{{M}}\p{{N}}'’]?[\p{{L}}\p{{M}}]+(?:(?!{_CONTRACTION})['’])?"


def pieces_pattern(digits: int) -> str:
    """The regular expression (Oniguruma) of the pieces."""
    return rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,{digits}}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(texts: Iterable[str], vocab_size: int, digits: int) -> tokenizers.Tokenizer:
    """Fit a BPE of at most `vocab_size` tokens (fewer when the texts do not have as many pairs that occur twice)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pieces_pattern(digits)), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # type: ignore[assignment]
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe


def save(bpe: tokenizers.Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json (with the ChatML template) and token_bytes.npy."""
    bpe.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": IM_END, "pad_token": PAD}
    config |= {"additional_special_tokens": [IM_START], "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lengths = [len(token) for token in _token_bytes(bpe)]
    np.save(folder / "token_bytes.npy", np.array(lengths, np.uint16), allow_pickle=False)


class Tokenizer:
    """A trained tokenizer, from its folder."""

    def __init__(self, bpe: tokenizers.Tokenizer, digest: str) -> None:
        bpe.encode_special_tokens = True  # specials written in a text are read as plain characters
        self._bpe = bpe
        self._bytes = _token_bytes(bpe)
        self.hash = digest  # of tokenizer.json: what shards are held against
        self.vocab_size = len(self._bytes)
        self.token_bytes: NDArray[np.uint16] = np.array([len(token) for token in self._bytes], np.uint16)  # (V,), 0 for specials
        self.bos, self.im_start, self.im_end, self.pad = (bpe.token_to_id(token) for token in SPECIALS)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Open a folder written by `save`. ValueError when it holds no tokenizer of ours."""
        from tokenizers import Tokenizer as Bpe

        data = (folder / "tokenizer.json").read_bytes()
        bpe = Bpe.from_str(data.decode())
        missing = [token for token in SPECIALS if bpe.token_to_id(token) is None]
        if missing:
            raise ValueError(f"the tokenizer in {folder.name} lacks {', '.join(missing)}")
        return cls(bpe, digest_bytes(data))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, specials never among them. Lone surrogates, which UTF-8 cannot carry, become U+FFFD."""
        return list(self._bpe.encode(_utf8(text), add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of several texts, in threads."""
        return [list(e.ids) for e in self._bpe.encode_batch([_utf8(text) for text in texts], add_special_tokens=False)]

    def encode_chat(self, messages: Sequence[Mapping[str, str]], reply: bool = False) -> tuple[list[int], list[bool]]:
        """Tokens of a conversation, and which of them are learnt: what the assistant says, with its <|im_end|>.

        `<|bos|>` then, for each message, `<|im_start|>role\\ncontent<|im_end|>\\n`; with `reply` the opening of an
        assistant's message follows, to generate from. Both lists have the same length.
        """
        newline, ids, learnt = self.encode("\n"), [self.bos], [False]
        for message in messages:
            head, content = [self.im_start, *self.encode(message["role"] + "\n")], [*self.encode(message["content"]), self.im_end]
            ids += head + content + newline
            learnt += [False] * len(head) + [message["role"] == "assistant"] * len(content) + [False] * len(newline)
        if reply:
            head = [self.im_start, *self.encode("assistant\n")]
            ids, learnt = ids + head, learnt + [False] * len(head)
        return ids, learnt

    def decode(self, ids: Iterable[int], specials: bool = False) -> str:
        """The text of these tokens; specials are left out unless asked for. Broken UTF-8 shows as U+FFFD."""
        return b"".join(self._pieces(ids, specials)).decode("utf-8", "replace")

    def _pieces(self, ids: Iterable[int], specials: bool) -> Iterator[bytes]:
        names = {self.bos: BOS, self.im_start: IM_START, self.im_end: IM_END, self.pad: PAD} if specials else {}
        for i in ids:
            yield names[i].encode() if i in names else self._bytes[i]


def _utf8(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def n_bytes(text: str) -> int:
    """Bytes of the text in UTF-8, as `encode` sees it."""
    return len(_utf8(text).encode())


def _token_bytes(bpe: tokenizers.Tokenizer) -> list[bytes]:
    """The bytes of each token, by id; specials have none."""
    alphabet = _alphabet()
    vocabulary: dict[str, Any] = bpe.get_vocab(with_added_tokens=True)
    table = [b""] * len(vocabulary)
    for token, i in vocabulary.items():
        if token not in SPECIALS:
            table[i] = bytes(alphabet[c] for c in token)
    return table


def _alphabet() -> dict[str, int]:
    """Character to byte in byte-level BPE: printable Latin-1 stands for itself, the rest follows from U+0100 (GPT-2)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(0x100 + i): b for i, b in enumerate(hidden)}
