"""The way through the house, on one screen: raw folder in, trained and chat-tuned decoder out.

    raw folder(s)
      └ ingest → extract → normalize → prose → perplexity → redact → quality → dedup → paragraphs → split     documents
                                         └ ngram ┘                                                    ├ tokenizer
                                                                                                      └ pack
                                                                                     recipe → pretrain → sft → evaluate

A new stage is one file with a `STAGE`, and one line here: plan, inspect, `--sql`, report and the flow know it at once.
Document stages form the chain in the order they stand; a corpus stage names its inputs itself.
"""

from __future__ import annotations

from corpus.stage import Stage
from extractors import extract, ingest
from filters import ngram, normalize, perplexity, prose, quality, redact, split
from filters.dedup import paragraphs
from filters.dedup import stage as dedup
from packer import pack, tokenizer
from train import evaluate, pretrain, recipe, sft

WAY: tuple[Stage, ...] = (
    ingest.STAGE,  # opens containers, lists members
    extract.STAGE,  # member → document
    normalize.STAGE,  # mojibake, Unicode, broken lines
    prose.STAGE,  # running prose, language
    ngram.STAGE,  # the corpus' own n-gram model, pinned
    perplexity.STAGE,  # too surprising, too predictable
    redact.STAGE,  # personal data → <PERSONA> <EMAIL> <CF>
    quality.STAGE,  # quality, spam
    dedup.STAGE,  # exact and near duplicates, survivors elected
    paragraphs.STAGE,  # boilerplate repeated across documents
    split.STAGE,  # train / val by family: the clean corpus
    tokenizer.STAGE,  # byte-level BPE, pinned
    pack.STAGE,  # PackOnce shards
    recipe.STAGE,  # the dial resolved, pinned
    pretrain.STAGE,  # the base model
    sft.STAGE,  # the chat model
    evaluate.STAGE,  # bits per byte, samples
)
