"""What each token may see, decided once per forward: the same rule on four paths.

    key k is visible to query q   iff   k <= q,  doc[k] = doc[q],  q - k < window

    causal   no mask at all: the fused causal kernel. Rows of one stream.
    dense    a boolean tensor [B, 1, T, T]: any device, O(T^2) memory, the reference.
    flex     a FlexAttention BlockMask, the same for every head, built once per window and shared by the layers.
    first    each query's first key: for training on a CPU by `whole_rows.py`, which leaves out what is hidden.

'auto' takes first where the model trains so, causal where nothing but causality is asked for, flex on CUDA, dense elsewhere. Dense
kernels compute what a window hides: there a window saves the memory of the cache, not time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

PATHS = ("auto", "causal", "dense", "flex")


@dataclass
class Sight:
    """The masks of one forward over whole rows. `mask(window)` is None (causal path), a bool tensor or a BlockMask.

    documents [B, T] int, a document's tokens side by side: those of others are hidden; -1 is padding, which nobody sees but itself.
    bidirectional: later tokens are visible too. prefix: so many first tokens see each other.
    """

    length: int
    device: torch.device
    documents: Tensor | None = None
    bidirectional: bool = False
    prefix: int = 0
    path: str = "auto"
    _masks: dict[int, Any] = field(default_factory=dict)
    _firsts: dict[int, Tensor | None] = field(default_factory=dict)

    def mask(self, window: int) -> Any:
        window = 0 if window >= self.length else window
        if window not in self._masks:
            path = self.chosen(window)
            self._masks[window] = None if path == "causal" else self._flex(window) if path == "flex" else self._dense(window)
        return self._masks[window]

    @property
    def by_first(self) -> bool:
        """Whether a query sees all keys from a first one to its own, and no path was asked for."""
        return self.path == "auto" and not self.bidirectional and not self.prefix

    def first(self, window: int) -> Tensor | None:
        """The first key each query sees, [B or 1, T] int32; None: the row's. Only `by_first`."""
        window = 0 if window >= self.length else window
        if window not in self._firsts:
            at, found = torch.arange(self.length, dtype=torch.int32, device=self.device)[None], None
            if self.documents is not None:
                found = (at * (self.documents != self.documents.roll(1, 1))).cummax(1).values
            if window:
                found = (at - (window - 1)).clamp(min=0) if found is None else torch.maximum(found, at - (window - 1))
            self._firsts[window] = found
        return self._firsts[window]

    def chosen(self, window: int) -> str:
        """The path for this window. ValueError where a path was asked for that cannot hide what must be hidden."""
        plain = self.documents is None and not window and not self.bidirectional and not self.prefix
        if self.path == "auto":
            return "causal" if plain else "flex" if self.device.type == "cuda" else "dense"
        if self.path == "causal" and not plain:
            raise ValueError("the causal path knows no documents, windows or prefixes: leave the attention path at auto")
        return self.path

    def _dense(self, window: int) -> Tensor:
        at = torch.arange(self.length, device=self.device)
        q, k = at[:, None], at[None, :]
        seen = torch.ones_like(q >= k) if self.bidirectional else q >= k
        if window:
            seen = seen & ((q - k).abs() < window)
        if self.prefix:
            seen = seen | ((q < self.prefix) & (k < self.prefix))
        if self.documents is None:
            return seen[None, None]
        return (seen & self.documents[:, :, None].eq(self.documents[:, None, :]))[:, None]

    def _flex(self, window: int) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        documents, prefix, bidirectional = self.documents, self.prefix, self.bidirectional

        def visible(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            seen = (k >= 0) if bidirectional else (q >= k)
            if window:
                seen = seen & ((q - k).abs() < window)
            if prefix:
                seen = seen | ((q < prefix) & (k < prefix))
            return seen if documents is None else seen & (documents[b, q] == documents[b, k])

        rows = None if documents is None else documents.shape[0]
        return create_block_mask(visible, rows, None, self.length, self.length, device=str(self.device))
