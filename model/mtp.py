"""Multi-token prediction: K-1 extra heads that predict the tokens 2..K ahead from the same trunk.

    mlp        u_k = h + W2 silu(W1 norm(h)), each head alone (Gloeckle et al. 2024, with the module a small MLP)
    deepseek   h_k = block(M [norm(h_{k-1}); norm(E(t+k))]): a chain, which is told the tokens in between (DeepSeek-V3)
    shared     no parameters: the ordinary logits are scored against t+1..t+K

All share the last norm and the head. A target that lies in another document than its position is not scored.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Step
from model.config import DecoderConfig
from model.inputs import beginnings
from model.layers import Linear, RMSNorm
from model.loss import IGNORED
from model.stream import Block


class MlpHead(nn.Module):
    """[..., d] -> [..., d], the identity at first."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_eps, config.norm_affine)
        self.up = Linear(config.d_model, config.mtp_hidden)
        self.down = Linear(config.mtp_hidden, config.d_model)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.down(F.silu(self.up(self.norm(h))))


class ChainHead(nn.Module):
    """The state one token further: from the state before and the embedding of the token in between."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.state_norm = RMSNorm(config.d_model, config.norm_eps, config.norm_affine)
        self.token_norm = RMSNorm(config.d_model, config.norm_eps, config.norm_affine)
        self.proj = Linear(2 * config.d_model, config.d_model)
        self.block = Block(plain(config), 0)

    def forward(self, h: Tensor, embedded: Tensor, step: Step) -> Tensor:
        x = self.proj(torch.cat((self.state_norm(h), self.token_norm(embedded)), -1))
        return self.block(x, None, x, step, 0)[0]


def plain(c: DecoderConfig) -> DecoderConfig:
    """One layer of this shape, without the options of the stream."""
    return dataclasses.replace(
        c,
        n_layer=1,
        window_pattern="L",
        xsa_last_n=0,
        attn_gate="none",
        value_residual=False,
        value_embed=None,
        qk_gain=0.0,
        ln_scale=False,
        branch_scale=False,
        resid_mix="none",
        parallel_from=-1,
        loop=None,
        unet_skips="none",
        mup_base_layers=0,
    )


def build_mtp(config: DecoderConfig) -> nn.ModuleList | None:
    """The K-1 heads; None where there are no modules."""
    if config.mtp_k == 1 or config.mtp_kind == "shared":
        return None
    head = MlpHead if config.mtp_kind == "mlp" else ChainHead
    return nn.ModuleList(head(config) for _ in range(config.mtp_k - 1))


def targets_ahead(ids: Tensor, targets: Tensor, documents: Tensor | None, ahead: int, bos_id: int) -> Tensor:
    """[B, T] the token `ahead` (1..K) positions on, IGNORED behind the row's end or where a document begins in between.

    targets [B, T] are the tokens one ahead: the last of them stands behind the row.
    """
    inside = ids.shape[1] - ahead + 1  # positions whose target is known
    if inside < 1:
        return torch.full_like(targets, IGNORED)
    begins = F.pad(beginnings(ids, documents, bos_id)[:, 1:], (0, 1))  # of the token behind each position
    if bos_id >= 0:
        begins = begins | (targets == bos_id)
    crossed = torch.stack([begins[:, k : k + inside] for k in range(ahead)]).any(0)
    return F.pad(targets[:, ahead - 1 :].masked_fill(crossed, IGNORED), (0, ahead - 1), value=IGNORED)
