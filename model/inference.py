"""A decoder made ready for writing text: the same function, fewer and cheaper operations.

`prepare` gives a copy whose matrices are in the dtype of the activations (masters would be cast at every token) and whose ternary
matrices are rounded once. Plain layers on a CPU compute tokens behind a prompt by one call of compiled code (`few_tokens.py`). Where that
is not to be had, matrices that read the same input are joined (queries, keys and values; gate and up) and queries and keys are normed
and turned together: at small widths it is the number of operations that a token costs. In bf16 on a CPU the matrices are then in
oneDNN's own blocks, which else it would make at every product: prompts and batches a quarter faster. In fp32 long prompts are multiplied by
matrix tiles where there are any (`pieces.py`).

Limits: what is not changed is shared with the model, what is changed is not, so the copy is made anew after training. It cannot
be trained, saved or moved. Sums are added up in another order: results differ in the last bits.
"""

from __future__ import annotations

import copy
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import fused
from model.attention import Attention, Step
from model.cache import FEW
from model.decoder import Decoder
from model.few_tokens import FewTokens, head_gains
from model.ffn import SwiGLU, swiglu
from model.layers import Linear, RMSNorm
from model.pieces import product
from model.schema import role
from model.ternary import TernaryLinear, quantize_activations, ternary


class Ready(Decoder):
    """What `prepare` gives. `few` computes the tokens behind a prompt; None: the modules do."""

    few: FewTokens | None = None

    def _through(self, x: Tensor, step: Step) -> Tensor:
        if self.few is None or step.cache is None or not self.few.fits(step):
            return super()._through(x, step)
        return self.few.through(x, step.cache)

    def scores(self, hidden: Tensor) -> Tensor:
        if self.few is None or hidden.shape[-2] > FEW:
            return super().scores(hidden)
        return self.few.scores(hidden)

    @functools.cached_property
    def sketch(self) -> Ready:
        """The same decoder with matrices of 8 bits, for drafts; only where there is `few`. Memory: a byte per weight."""
        sketch = copy.copy(self)
        sketch.few = FewTokens.of(self, quantized=True)
        return sketch


@torch.no_grad()
def prepare(model: Decoder, compiled: bool = True) -> Ready:
    """A copy for inference, in eval mode and without gradients, on the model's device. Vectors and routers keep their dtype.

    compiled: by compiled code where the shape and the machine are such (`few_tokens.py`).
    """
    with torch.device("meta"):
        ready = Ready(model.config, model.dtype)
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, TernaryLinear):
            state[f"{name}.weight"] = ternary(module.weight, module.group)
    for name, _ in model.named_parameters():
        state[name] = state[name] if role(name) == "vector" else state[name].to(model.dtype)
    ready.load_state_dict(state, assign=True)
    ready.rope, ready.looping, ready.attention_path = model.rope, model.looping, model.attention_path
    ready.few = FewTokens.of(ready) if compiled else None
    if ready.few is None:
        _join(ready)
    for module in list(ready.modules()):
        if isinstance(module, Linear):
            module.times = product
        for name, child in list(module.named_children()):
            if isinstance(child, RMSNorm):
                setattr(module, name, Norm(child, model.embedding.weight.device))
    return ready.eval().requires_grad_(False)


def _join(ready: Ready) -> None:
    """Every module by one that takes fewer operations, every matrix as `product` reads it fastest."""
    for module in list(ready.modules()):
        if isinstance(module, Attention):
            module.joined = JoinedHeads(module)
        for name, child in list(module.named_children()):
            if isinstance(child, TernaryLinear):
                setattr(module, name, Rounded(child))
            elif isinstance(child, SwiGLU):
                setattr(module, name, JoinedSwiGLU(child))
    table, ready.head = ready.table, Linear(0, 0)  # an embedding's rows are read one by one, a head's may be packed
    ready.head.weight = nn.Parameter(table)
    for name, module in ready.named_modules():
        if isinstance(module, (Linear, Rounded)) and role(f"{name}.weight") != "vector":
            weight = module.weight
            del module.weight
            module.weight = packed(weight)


def packed(weight: Tensor) -> Tensor:
    """A matrix as `product` reads it fastest: bf16 on a CPU in oneDNN's blocks, as they suit few rows; else as it is."""
    there = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not there or weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 16)  # type: ignore[no-any-return]


class Rounded(nn.Module):
    """A ternary matrix that has been rounded."""

    def __init__(self, plain: TernaryLinear) -> None:
        super().__init__()
        self.weight, self.activations = plain.weight, plain.activations

    def forward(self, x: Tensor) -> Tensor:
        return product(quantize_activations(x) if self.activations else x, self.weight)


class Norm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain = x / hypot(|x|, sqrt(d eps)) * (sqrt(d) gain), in fp32, cast back."""

    side: Tensor
    gain: Tensor

    def __init__(self, plain: RMSNorm, device: torch.device) -> None:
        super().__init__()
        self.weight = plain.weight  # a sketch is made of it
        gain = torch.ones(plain.width, device=device) if plain.weight is None else plain.weight.float()
        self.register_buffer("gain", gain * plain.width**0.5, persistent=False)
        self.register_buffer("side", torch.tensor((plain.width * plain.eps) ** 0.5, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return wide.div(_length(wide).hypot_(self.side)).mul_(self.gain).to(x.dtype)


class JoinedSwiGLU(nn.Module):
    """SwiGLU with one matrix for gate and up."""

    def __init__(self, plain: SwiGLU) -> None:
        super().__init__()
        self.both = packed(torch.cat((plain.gate.weight, plain.up.weight)))
        self.down = plain.down

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(*product(x, self.both).chunk(2, -1)))  # type: ignore[no-any-return]


class JoinedHeads(nn.Module):
    """What `Attention.heads` gives: by one product, with queries and keys as one tensor, in fp32 until they are turned."""

    gains: Tensor

    def __init__(self, a: Attention) -> None:
        super().__init__()
        self.n_head, self.turned, self.d_head = a.n_head, a.n_head + a.n_kv_head, a.d_head
        self.activations = isinstance(a.q, TernaryLinear) and a.q.activations
        self.matrix = packed(torch.cat([part.weight for part in (a.q, a.k, a.v)]))
        self.norm = None if a.q_norm is None else Norm(a.q_norm, a.o.weight.device)
        self.plain = a.q_norm is None and a.gain is None
        self.register_buffer("gains", head_gains(a) * (1 if self.norm is None else a.d_head**0.5), persistent=False)
        del a.q, a.k, a.v, a.q_norm, a.k_norm, a.gain

    def forward(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, d] -> queries [B, Hq, T, dh] and keys [B, Hk, T, dh], turned, and values [B, T, Hk*dh]."""
        B, T, _ = x.shape
        every = product(quantize_activations(x) if self.activations else x, self.matrix)
        wide = self.turned * self.d_head
        qk = every.narrow(2, 0, wide).view(B, T, self.turned, self.d_head).float()
        if self.norm is not None:
            qk = qk.div(_length(qk).hypot_(self.norm.side))
        if not self.plain:
            qk = qk * self.gains
        if step.turn is None:
            step.turn = turn(step.rope, self.d_head)
        qk = fused.turned(qk, *step.turn).to(x.dtype).transpose(1, 2)
        q, k = qk.narrow(1, 0, self.n_head), qk.narrow(1, self.n_head, self.turned - self.n_head)
        return q, k, every.narrow(2, wide, every.shape[2] - wide)


def turn(rope: Tensor, d_head: int) -> tuple[Tensor, Tensor]:
    """cos and sin for heads [B, T, H, dh], as `fused.turned` takes them; rope [2, T, r/2] or [2, B, 1, T, r/2]."""
    cos, sin = rope[:, :, None] if rope.dim() == 3 else rope.transpose(2, 3)  # [(B,) T, 1, r/2]
    return F.pad(torch.cat((cos, cos), -1), (0, d_head - 2 * cos.shape[-1]), value=1.0), sin


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, 2, -1, True)
