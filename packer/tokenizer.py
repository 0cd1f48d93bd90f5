"""tokenizer: trains the byte-level BPE on the training documents, prose and chat alike, once; new data does not move it.

The vocabulary follows from the text unless it is set: the power of two below the square root of its bytes, between 2,048
(4 MB and less) and 32,768 (1 GB and more). Trained on the documents with the smallest hashes up to `sample_bytes`, so a
corpus in any order gives the same tokenizer. Validation documents take no part.

See bpe.py for the tokenizer itself; `Tokenizer` is offered from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.canonical import digest_text
from corpus.config import measured
from corpus.document import Document, held_out
from corpus.outcome import Skip
from corpus.stage import CorpusStage, Inputs, Job, View
from packer.bpe import SPECIALS, Tokenizer, n_bytes, save, train

__all__ = ["STAGE", "Tokenizer", "TokenizerConfig", "build"]

SMALLEST, LARGEST = 2048, 32_768
_MARKERS = re.compile("|".join(re.escape(token) for token in SPECIALS))


@dataclass(frozen=True)
class TokenizerConfig:
    vocab_size: int | None = measured(None, "tokens, specials included; none: from the size of the corpus")
    digits: int = measured(2, "longest run of digits in one token, 1 to 3")
    sample_bytes: int = measured(200_000_000, "bytes of text it is trained on, at most")

    def __post_init__(self) -> None:
        if self.vocab_size is not None and not 256 + len(SPECIALS) <= self.vocab_size <= 1 << 20:
            least = f"{256 + len(SPECIALS)} (every byte and the specials)"
            raise ValueError(f"vocab_size must lie between {least} and {1 << 20}, not {self.vocab_size}")
        if not 1 <= self.digits <= 3:
            raise ValueError(f"digits must be 1, 2 or 3, not {self.digits}")


def auto_vocab_size(corpus_bytes: int) -> int:
    """The power of two below the square root of the bytes, between 2,048 and 32,768."""
    size = SMALLEST
    while size < LARGEST and (2 * size) ** 2 <= corpus_bytes:
        size *= 2
    return size


def build(config: TokenizerConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Train, save, and report vocabulary, bytes per token on what it was trained on."""
    view = inputs.views["split"]
    sizes = {d["id"]: n_bytes(_trained(d)) for d in view.documents("text", "split", "held") if d["split"] == "train"}
    if not sum(sizes.values()):
        raise Skip("there are no training documents to train a tokenizer on")
    chosen, total = _sample(sizes, config.sample_bytes)
    vocab_size = config.vocab_size or auto_vocab_size(sum(sizes.values()))

    def texts() -> Iterator[str]:
        for done, text in enumerate(_texts(view, chosen)):
            if done % 1000 == 0:
                job.progress(done, len(chosen), "reading")
            yield _MARKERS.sub("", text)  # the markers of chat are specials, not text

    save(train(texts(), vocab_size, config.digits), folder)
    tokenizer = Tokenizer.load(folder)
    probe = list(_texts(view, chosen[:200]))
    tokens = sum(len(ids) for ids in tokenizer.encode_batch(probe))
    job.progress(len(chosen), len(chosen))
    return {
        "vocab_size": tokenizer.vocab_size,
        "documents": len(chosen),
        "bytes": total,
        "bytes_per_token": round(sum(map(n_bytes, probe)) / max(tokens, 1), 4),
        "hash": tokenizer.hash,
    }


def _sample(sizes: dict[str, int], cap: int) -> tuple[list[str], int]:
    """Ids by hash while their bytes fit under the cap (the first always), and those bytes."""
    chosen: list[str] = []
    total = 0
    for document_id in sorted(sizes, key=lambda i: digest_text("tokenizer:" + i)):
        if chosen and total + sizes[document_id] > cap:
            break
        chosen.append(document_id)
        total += sizes[document_id]
    return chosen, total


def _texts(view: View, ids: list[str]) -> Iterator[str]:
    for document in view.documents("text", "held", ids=sorted(ids)):
        yield _trained(document).encode("utf-8", "replace").decode()


def _trained(document: Document) -> str:
    return held_out(document["text"] or "", document["held"])[0]


STAGE = CorpusStage(
    name="tokenizer",
    version=1,
    config=TokenizerConfig(),
    doc="trains the byte-level BPE on the training documents",
    engines=("tokenizers",),
    inputs=("split",),
    reads=("text", "split", "held"),
    build=build,
    pinned=True,
)
