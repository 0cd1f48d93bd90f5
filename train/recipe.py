"""recipe: the one dial. From the amount of training text, a size and a budget to shape, steps, batch and learning rates.

The budget is arithmetic (FLOPs), not time: the same corpus and config give the same recipe on any machine of the same
kind. A recipe is pinned: new text does not change the shape of a model that exists.

    size     the largest whose parameters do not exceed the tokens of training text
    steps    min(epochs of the text, budget / FLOPs per token), in steps of a constant number of tokens
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpus.config import measured
from corpus.outcome import Misuse, Skip
from corpus.stage import CorpusStage, Inputs, Job
from model.config import DecoderConfig
from model.presets import PRESETS, preset

# name -> (d_model, n_layer, n_head, n_kv_head, d_ff)
SIZES = {
    "1m": (128, 4, 4, 2, 384),
    "3m": (192, 5, 4, 2, 576),
    "5m": (256, 5, 4, 2, 768),
    "20m": (384, 10, 6, 2, 1152),
    "50m": (512, 14, 8, 4, 1536),
    "120m": (768, 16, 12, 4, 2304),
}
ON_CPU = ("1m", "3m", "5m")
BUDGET = {"cpu": 4e14, "cuda": 1e18}  # training FLOPs: about 15 minutes on two cores, about an hour on one large GPU
LENGTH = {"cpu": 256, "cuda": 1024}
TOKENS_PER_STEP = {"cpu": 4096, "cuda": 65_536}


@dataclass(frozen=True)
class RecipeConfig:
    size: str = measured("auto", f"auto, {', '.join(SIZES)}, a preset (`athanor model show`), or custom: then the shape below")
    d_model: int = measured(0, "custom: width")
    n_layer: int = measured(0, "custom: layers")
    n_head: int = measured(0, "custom: query heads")
    n_kv_head: int = measured(0, "custom: key/value heads; 0: as many as query heads")
    d_ff: int = measured(0, "custom: width of the SwiGLU")
    length: int = measured(0, "tokens in a row, and the model's window; 0: 256 on CPU, 1,024 on a GPU")
    tokens_per_step: int = measured(0, "tokens in an update; 0: 4,096 on CPU, 65,536 on a GPU")
    epochs: float = measured(6.0, "times the text is read, at most")
    flops: float = measured(0.0, "training FLOPs, at most; 0: 4e14 on CPU, 1e18 on a GPU")
    min_steps: int = measured(20, "updates, at least")
    max_steps: int | None = measured(None, "updates, at most; none: no limit")
    matrix_lr: float = measured(0.02, "peak learning rate of the blocks' matrices (Muon)")
    embed_lr: float = measured(0.0, "peak learning rate of the token table (AdamW); 0: 0.02 for text read less than twice, else 0.006")
    vector_lr: float = measured(0.006, "peak learning rate of the gains (AdamW)")
    weight_decay: float = measured(0.1, "decoupled decay of the matrices")
    decay: float = measured(0.6, "fraction of the run over which the learning rates fall to zero")
    softcap: float = measured(0.0, "s: logits become s*tanh(logits/s); 0: off")
    rope_base: float = measured(10_000.0, "base of the rotary positions")
    decoder: dict[str, Any] = measured({}, "any other field of the decoder, as `athanor model show` names them: ffn_kind, loop, ...")
    document_mask: bool = measured(False, "tokens do not see other documents of their row")

    def __post_init__(self) -> None:
        if self.size not in ("auto", "custom", *SIZES, *PRESETS):
            raise ValueError(f"size must be auto, custom, a preset or one of {', '.join(SIZES)}, not '{self.size}'")
        if self.size == "custom" and min(self.d_model, self.n_layer, self.n_head, self.d_ff) < 1:
            raise ValueError("size custom needs d_model, n_layer, n_head and d_ff")
        if 0 < self.length < 8 or self.length < 0 or self.epochs <= 0 or self.min_steps < 1:
            raise ValueError("length must be at least 8, epochs above 0 and min_steps at least 1")


def shape_of(config: RecipeConfig, size: str, vocab_size: int, length: int, bos: int = -1) -> DecoderConfig:
    """The decoder of this size over this vocabulary, with this window; a name of the dial comes before a preset's."""
    over = {"vocab_size": vocab_size, "max_seq_len": length, "bos_id": bos}
    if size in PRESETS and size not in SIZES:
        return preset(size, **{**over, "pad_vocab_to": 64, **config.decoder})
    custom = (config.d_model, config.n_layer, config.n_head, config.n_kv_head, config.d_ff)
    d_model, n_layer, n_head, n_kv_head, d_ff = custom if size == "custom" else SIZES[size]
    shape = {"d_model": d_model, "n_layer": n_layer, "n_head": n_head, "n_kv_head": n_kv_head, "d_ff": d_ff}
    return DecoderConfig.from_dict({**over, **shape, "rope_base": config.rope_base, "logit_softcap": config.softcap, **config.decoder})


def resolve(config: RecipeConfig, vocab_size: int, train_tokens: int, device: str, bos: int = -1) -> dict[str, Any]:
    """The recipe, as written to recipe.json. A pure function of its arguments."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    names = ON_CPU if kind == "cpu" else tuple(SIZES)
    size, length = config.size, config.length or LENGTH[kind]
    if size == "auto":
        fitting = [n for n in names if shape_of(config, n, vocab_size, length).param_count() <= train_tokens]
        size = fitting[-1] if fitting else names[0]
    decoder = shape_of(config, size, vocab_size, length, bos)
    rows = max(1, (config.tokens_per_step or TOKENS_PER_STEP[kind]) // length)
    per_step = rows * length
    flops_per_token = decoder.flops_per_token(length)
    wanted = min(config.epochs * train_tokens, (config.flops or BUDGET[kind]) / flops_per_token)
    steps = max(config.min_steps, int(wanted // per_step))
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    return {
        "size": size,
        "params": decoder.param_count(),
        "decoder": decoder.to_dict(),
        "length": length,
        "rows_per_step": rows,
        "tokens_per_step": per_step,
        "steps": steps,
        "tokens": steps * per_step,
        "train_tokens": train_tokens,
        "epochs": round(steps * per_step / train_tokens, 4),
        "flops": float(steps * per_step * flops_per_token),
        "document_mask": config.document_mask,
        "regime": {
            "steps": steps,
            "matrix_lr": config.matrix_lr,
            "embed_lr": config.embed_lr or (0.02 if steps * per_step < 2 * train_tokens else 0.006),  # rare tokens overfit first
            "vector_lr": config.vector_lr,
            "weight_decay": config.weight_decay,
            "decay": config.decay,
            "warmup": min(20, max(1, steps // 10)),
            "momentum_warmup": min(300, max(1, steps // 4)),
        },
        "asked": asdict(config),
    }


def build(config: RecipeConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Resolve and write recipe.json."""
    from packer.bpe import Tokenizer
    from packer.rows import Documents

    train = Documents(inputs.views["pack"], "train")
    if train.tokens < 2:
        raise Skip("there is no training text: no packed document has split 'train'")
    device = job.device
    if device in ("auto", ""):
        from train.numerics import default_device

        device = default_device()
    try:
        tokenizer = Tokenizer.load(inputs.artifacts["tokenizer"].path)
        recipe = resolve(config, tokenizer.vocab_size, train.tokens, device, tokenizer.bos)
    except ValueError as error:
        raise Misuse(f"Config 'recipe': {error}") from error
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n", "utf-8")
    return {name: recipe[name] for name in ("size", "params", "steps", "tokens", "train_tokens", "epochs")}


STAGE = CorpusStage(
    name="recipe",
    version=2,
    config=RecipeConfig(),
    doc="model shape, steps and learning rates from the amount of text",
    inputs=("tokenizer", "pack"),
    reads=("text", "split", "held"),
    build=build,
    pinned=True,
)
