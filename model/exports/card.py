"""The model card of an exported folder: README.md with a YAML head that the Hugging Face Hub reads.

A folder is of one kind: 'hf' carries its own source, 'qwen3' and 'llama' are transformers' own classes, 'gguf' is llama.cpp's.

Counts and shape follow from the config, the rest is what the caller knows. What nobody stated is said to be not stated; no
figure, use or licence is made up.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model import counts
from model.config import DecoderConfig

UNSTATED = "Not stated."
SAID = "ffn_kind max_seq_len tie_embeddings rope_base pad_vocab_to bos_id".split()  # in a line of their own, or no option
SAID += "n_kv_head d_head rope_dims window mtp_hidden".split()  # derived


@dataclass(frozen=True)
class Facts:
    """What is known of a model beyond its shape. Tables are label -> value, in the order they are shown."""

    name: str
    about: str = ""  # a paragraph: what it is
    languages: tuple[str, ...] = ()  # ISO 639-1
    licence: str = ""  # as the Hub spells it: apache-2.0, cc-by-4.0
    base: str = ""  # the model it was tuned from, as the Hub or a folder calls it
    tags: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    uses: str = ""
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What the folder holds."""

    kind: str  # 'hf', 'qwen3', 'llama' or 'gguf'
    dtype: str  # of the weights
    fingerprint: str = ""  # of the state
    tokenizer: bool = False
    chat: bool = False  # the tokenizer has a chat template
    left_out: tuple[str, ...] = ()  # heads, in words


def card(c: DecoderConfig, facts: Facts, written: Written) -> str:
    """The whole file."""
    if written.kind != "hf":  # the others hold the trunk and the tokens that exist
        c = c.replace(mtp_k=1, decision_classes=0, chart_encoder=None, pad_vocab_to=1)
    usage = {"Use with transformers": _transformers(facts.name, written), "Use with Athanor": _athanor(facts.name, written)}
    if written.kind == "gguf":
        usage = {"Use with llama.cpp": _llama_cpp(written)}
    sections = {
        "Size": _table(_sizes(c, written.dtype)),
        "Shape": _table(_shape(c)) + ("\n\nThe remaining fields are in `config.json`, under `decoder`." if written.kind == "hf" else ""),
        **usage,
        "Data": _table(facts.data) or UNSTATED,
        "Training": _table(facts.training) or "Not stated. The weights may never have been trained.",
        "Evaluation": _table(facts.evaluation) or "No figures are given.",
        "Intended use": facts.uses or UNSTATED,
        "Limits": "\n".join(f"- {limit}" for limit in (*facts.limits, *_limits(c, written))),
        "Licence": facts.licence or "Not stated: ask before you use or pass it on.",
        "Identity": _identity(written),
    }
    about = facts.about or "A decoder-only language model."
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"---\n{_head(facts, written)}---\n\n# {facts.name}\n\n{about}\n\n{body}\n"


def _head(facts: Facts, written: Written) -> str:
    """YAML, every value as JSON, which YAML reads."""
    tags = ["athanor", *(["custom_code"] if written.kind == "hf" else []), *(["conversational"] if written.chat else []), *facts.tags]
    library = "gguf" if written.kind == "gguf" else "transformers"
    head: dict[str, Any] = {"language": list(facts.languages), "license": facts.licence, "library_name": library}
    head |= {"pipeline_tag": "text-generation", "tags": tags, "base_model": facts.base}
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in head.items() if value)


def _sizes(c: DecoderConfig, dtype: str) -> dict[str, str]:
    total, active = counts.param_count(c), counts.active_count(c)
    embedding = "token table" if c.tie_embeddings else "token table and head"
    found = {"parameters": f"{total:,}", f"without the {embedding}": f"{counts.non_embedding_count(c):,}"}
    found |= {"used by each token": f"{active:,}"} if active != total else {}
    heads = {"multi-token prediction": counts.mtp(c), "decision head": counts.decision(c), "chart encoder": counts.chart(c)}
    found |= {f"of them {name}": f"{count:,}" for name, count in heads.items() if count}
    return found | {"weights": dtype}


def _shape(c: DecoderConfig) -> dict[str, Any]:
    found = {
        "layers": c.n_layer,
        "width": f"{c.d_model:,}",
        "attention": f"{c.n_head} query heads, {c.n_kv_head} key/value heads, {c.d_head} wide",
        "feed-forward": f"{c.ffn_kind}, {c.d_ff:,} wide",
        "vocabulary": f"{c.vocab_size:,} tokens, {'one table in and out' if c.tie_embeddings else 'a head of its own'}",
        "window": f"{c.max_seq_len:,} tokens",
        "rotary base": f"{c.rope_base:,.0f}",
    }
    options = [f for f in dataclasses.fields(c) if f.name not in SAID and f.default is not dataclasses.MISSING]
    plain = c.to_dict()
    on = [f"{f.name} {_told(plain[f.name])}" for f in options if getattr(c, f.name) != f.default]
    return found | ({"options": ", ".join(on)} if on else {})


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_told(inner)}" for name, inner in value.items()) + ")"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _transformers(name: str, written: Written) -> str:
    trust = ", trust_remote_code=True" if written.kind == "hf" else ""
    lines = ["from transformers import AutoModelForCausalLM" + (", AutoTokenizer" if written.tokenizer else ""), ""]
    lines += [f"model = AutoModelForCausalLM.from_pretrained({name!r}{trust})"]
    if not written.tokenizer:
        lines = ["import torch", *lines, "ids = torch.tensor([[...]])  # there is no tokenizer in this folder"]
        lines += ["print(model.generate(ids, max_new_tokens=100))"]
    elif written.chat:
        lines += [f"tokenizer = AutoTokenizer.from_pretrained({name!r}{trust})", 'messages = [{"role": "user", "content": "..."}]']
        lines += ['inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)']
        lines += ["print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))"]
    else:
        lines += [f"tokenizer = AutoTokenizer.from_pretrained({name!r}{trust})", 'inputs = tokenizer("...", return_tensors="pt")']
        lines += ["print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))"]
    note = "`trust_remote_code` runs `modeling_athanor.py`, the model's own source, which is in this folder."
    return "\n".join(["```python", *lines, "```", *(["", note] if trust else [])])


def _athanor(name: str, written: Written) -> str:
    lines = ["from model.decoder import Decoder", "", f"model = Decoder.from_pretrained({name!r})"]
    if written.kind != "hf":
        lines = [
            "from pathlib import Path",
            "",
            "from model.exports.native import import_native",
            "",
            f"model = import_native(Path({name!r}))",
        ]
    return "\n".join(["```python", *lines, "model.generate([[...]], max_new_tokens=100, temperature=0.8)", "```"])


def _llama_cpp(written: Written) -> str:
    lines = ["```sh", 'llama-cli -m model.gguf -p "..."', "```"]
    note = "llama.cpp cuts words a little otherwise than the model's own tokenizer; the text is the same."
    return "\n".join([*lines, *(["", note] if written.tokenizer else ["", "There is no tokenizer in the file: it takes and gives ids."])])


def _limits(c: DecoderConfig, written: Written) -> Iterable[str]:
    yield "It continues text: what it writes may be false, and may repeat what its training data says of people or groups."
    yield f"It reads at most {c.max_seq_len:,} tokens at once."
    beside = [name for name, count in (("multi-token prediction", counts.mtp(c)), ("decision", counts.decision(c))) if count]
    if written.left_out:
        yield f"Left out here, without effect on the text: {', '.join(written.left_out)}."
    elif beside:
        yield f"transformers loads and saves the heads for {' and '.join(beside)} and does not use them."
    if c.chart_encoder is not None:
        yield "Images are read through `model.model`, not by `generate`."


def _identity(written: Written) -> str:
    if not written.fingerprint:
        return ""
    what = "the state" if written.kind == "hf" else "the state it was written from"
    return f"SHA-256 of {what} (names, dtypes, shapes and bytes of every tensor): `{written.fingerprint}`."


def _table(rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    cells = ((str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows.items())
    return "\n".join(["| | |", "| --- | --- |", *(f"| {label} | {value} |" for label, value in cells)])
