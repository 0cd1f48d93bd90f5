"""Keys and values of the tokens so far, for one forward after the other.

Every row has its own length, so rows of different length need no padding on the left, and a row can be cut back (a draft
that was rejected). New tokens lie behind their row's last one; a row shorter than the others in a call is padded on the
right and `lengths` says how much of it is real. A layer with a window keeps a ring of that many tokens (and some spare ones,
so that a few can be taken back); the others grow in powers of two. There is one slot per layer *run*: a layer that is looped
over has several. The ids are kept too: what reads previous tokens finds them here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import DecoderConfig

SPARE = 16  # tokens of a ring beyond its window: a call of so many needs no copy, and so many can be cut back
FEW = SPARE + 1  # new tokens of a row that can take their places before any of them is read


@dataclass
class _Step:
    """One call: T new tokens per row."""

    T: int
    before: Tensor  # [B] length of each row
    longest: int  # of them
    real: Tensor | int  # of the T that are no padding, [B] or the same in every row
    even: bool  # all rows are equally long, none is padded

    @functools.cached_property
    def positions(self) -> Tensor:
        """[B, T]"""
        return self.before[:, None] + torch.arange(self.T, device=self.before.device)


class KVCache:
    """`slots` pairs of [B, Hk, capacity, dh]. `lengths` [B] tokens of each row, `longest` the most of them."""

    def __init__(self, config: DecoderConfig, rows: int, dtype: torch.dtype, device: torch.device | str, looping: bool = True) -> None:
        windows = config.windows()
        self.windows = tuple(windows[layer] for layer in config.unrolled(looping))
        self.heads, self.d_head, self.limit = config.n_kv_head, config.d_head, config.max_seq_len
        self.rows, self.dtype, self.device = rows, dtype, torch.device(device)
        self.keys: list[Tensor] = [self._empty(0)] * len(self.windows)
        self.values: list[Tensor] = [self._empty(0)] * len(self.windows)
        self.ids = torch.empty(rows, 0, dtype=torch.long, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.longest, self.even = 0, True
        self._step: _Step | None = None
        self._masks: dict[int, Tensor | None] = {}

    def begin(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor | slice:
        """Announce [B, T] new tokens, `lengths` [B] of them real; returns their positions [B, T], a slice where rows are even."""
        B, T = ids.shape
        if self.rows != B:
            raise ValueError(f"the cache holds {self.rows} rows, not {B}")
        end = self.longest + T if lengths is None else int((self.lengths + lengths).max())
        if end > self.limit:
            raise ValueError(f"{end} tokens do not fit in max_seq_len {self.limit}")
        real = T if lengths is None else lengths.to(self.lengths)
        step = self._step = _Step(T, self.lengths, self.longest, real, self.even and lengths is None)
        self._masks = {}
        self.ids = _roomy(self.ids, self.longest + T, 1)
        if step.even:
            self.ids[:, self.longest : end] = ids
            return slice(self.longest, end)
        self.ids.scatter_(1, step.positions, ids)
        return step.positions

    def append(self, slot: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store the new tokens' [B, Hk, T, dh]; returns all keys, all values and the mask [B or 1, 1, T, keys], None: all is seen.

        Into an empty cache the new ones come back as they are, without a mask: the caller's is the one of whole rows.
        ValueError when rows, heads, width, length or dtype are not the cache's.
        """
        step, T, window = self._step, k.shape[2], self.windows[slot]
        expected = (self.rows, self.heads, T, self.d_head)
        if step is None or step.T != T:
            raise ValueError("append needs begin() first, with as many tokens")
        if tuple(k.shape) != expected or tuple(v.shape) != expected or k.dtype != self.dtype or v.dtype != self.dtype:
            raise ValueError(f"the cache takes {expected} {self.dtype}, not {tuple(k.shape)} {k.dtype} and {tuple(v.shape)} {v.dtype}")
        ring = self.ring(window)
        self._make_room(slot, step, ring)
        whole = not ring or step.longest + T <= ring
        every = self._grown(slot, step, k, v) if whole else self._ringed(slot, step, k, v, ring)
        return every if step.longest else (k, v, None)

    def ring(self, window: int) -> int:
        """Places of a layer that sees so many tokens: position p lies at p modulo that. 0: it lies at p."""
        return _power(window + SPARE) if window else 0

    @property
    def few(self) -> bool:
        """Whether the announced tokens are all real and at most FEW a row."""
        return self._step is not None and isinstance(self._step.real, int) and self._step.T <= FEW

    def reserve(self) -> Tensor:
        """Room for the announced tokens in every slot, for who writes them there without `append`; returns their positions [B, T]."""
        step = self._step
        assert step is not None
        for slot, window in enumerate(self.windows):
            self._make_room(slot, step, self.ring(window))
        return step.positions

    def advance(self) -> None:
        """The announced tokens are in: the real ones count."""
        assert self._step is not None
        self.lengths = self._step.before + self._step.real
        self.even = self._step.even
        self.longest = self._step.longest + self._step.T if self.even else int(self.lengths.max())
        self._step = None

    def cut(self, lengths: Tensor) -> None:
        """Rows back to `lengths` [B]; what was behind is forgotten. At most SPARE tokens where there are windows."""
        self._set_lengths(torch.minimum(self.lengths, lengths.to(self.lengths)))

    def put(self, rows: Tensor, other: KVCache) -> None:
        """The rows [n] become those of another cache of the same decoder, which has n."""
        for slot, window in enumerate(self.windows):
            for mine, theirs in ((self.keys, other.keys[slot]), (self.values, other.values[slot])):
                mine[slot] = _roomy(mine[slot], theirs.shape[2], 2, self.ring(window))
                mine[slot][rows, :, : theirs.shape[2]] = theirs
        self.ids = _roomy(self.ids, other.longest, 1)
        self.ids[rows, : other.longest] = other.ids[:, : other.longest]
        self._set_lengths(self.lengths.index_copy(0, rows, other.lengths))

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self.keys, self.values = [k[rows] for k in self.keys], [v[rows] for v in self.values]
        self.ids, self.rows = self.ids[rows], len(rows)
        self._set_lengths(self.lengths[rows])

    def previous(self, n: int) -> Tensor:
        """[B, n] the last ids of each row, -1 where there is none; call it before `begin`."""
        at = self.lengths[:, None] - torch.arange(n, 0, -1, device=self.device)
        if not self.ids.shape[1]:
            return torch.full_like(at, -1)
        return torch.where(at >= 0, self.ids.gather(1, at.clamp(min=0)), -1)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(t.nbytes for t in (*self.keys, *self.values))

    def _set_lengths(self, lengths: Tensor) -> None:
        self.lengths, self.longest = lengths, int(lengths.max()) if len(lengths) else 0
        self.even = bool((lengths == self.longest).all())

    def _empty(self, capacity: int) -> Tensor:
        return torch.zeros(self.rows, self.heads, capacity, self.d_head, dtype=self.dtype, device=self.device)

    def _make_room(self, slot: int, step: _Step, ring: int) -> None:
        end = min(step.longest + step.T, ring) if ring else step.longest + step.T
        self.keys[slot], self.values[slot] = (_roomy(t, end, 2, ring) for t in (self.keys[slot], self.values[slot]))

    def _grown(self, slot: int, step: _Step, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Position p lies at p."""
        end, window = step.longest + step.T, self.windows[slot]
        keys, values = self.keys[slot], self.values[slot]
        self._write(keys, k, step, step.longest, None)
        self._write(values, v, step, step.longest, None)
        if window not in self._masks and step.longest:
            alone = step.even and step.T == 1 and (not window or end <= window)
            self._masks[window] = None if alone else _visible(torch.arange(end, device=self.device)[None], step.positions, window)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end), self._masks.get(window)

    def _ringed(self, slot: int, step: _Step, k: Tensor, v: Tensor, ring: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Position p lies at p mod ring. A few tokens take the place of old ones that no query of theirs sees any more; for more of
        them attention reads the ring as it was and the new ones behind it."""
        keys, values = self.keys[slot], self.values[slot]
        window, few = self.windows[slot], step.T <= FEW
        if window not in self._masks and step.longest:
            held = _held(step.before + step.T if few else step.before, ring)
            self._masks[window] = _visible(held if few else torch.cat((held, step.positions), 1), step.positions, window)
        if few:
            self._write(keys, k, step, step.longest % ring, ring)
            self._write(values, v, step, step.longest % ring, ring)
            return keys, values, self._masks[window]
        every = torch.cat((keys, k), 2), torch.cat((values, v), 2), self._masks.get(window)
        wanted = _held(step.before + step.real, ring)
        source = (wanted - step.before[:, None]).clamp(0, step.T - 1)[:, None, :, None].expand(-1, self.heads, -1, self.d_head)
        fresh = (wanted >= step.before[:, None])[:, None, :, None]
        self.keys[slot] = torch.where(fresh, k.gather(2, source), keys)
        self.values[slot] = torch.where(fresh, v.gather(2, source), values)
        return every

    def _write(self, into: Tensor, new: Tensor, step: _Step, first: int, ring: int | None) -> None:
        """The new tokens [B, Hk, T, dh] at their places: from `first` on where rows are even and nothing turns over the end."""
        if step.even and (ring is None or first + step.T <= ring):
            into.narrow(2, first, step.T).copy_(new)
        else:
            places = step.positions if ring is None else step.positions.remainder(ring)
            into[torch.arange(self.rows, device=self.device)[:, None], :, places] = new.transpose(1, 2)


def _held(ends: Tensor, ring: int) -> Tensor:
    """[B] lengths -> [B, ring] the position that each place of a ring holds, below 0: none yet."""
    last = ends[:, None] - 1
    return last - (last - torch.arange(ring, device=ends.device)).remainder(ring)


def _visible(keys: Tensor, queries: Tensor, window: int) -> Tensor:
    """[B or 1, K] positions of keys (below 0: none), [B, T] of queries -> [B, 1, T, K]."""
    k, q = keys[:, None, :], queries[:, :, None]
    seen = (k >= 0) & (k <= q)
    return (seen & (q - k < window) if window else seen)[:, None]


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _roomy(tensor: Tensor, length: int, axis: int, most: int = 0) -> Tensor:
    """The tensor, or one with room for `length` along `axis`: a power of two, at most `most`."""
    if tensor.shape[axis] >= length:
        return tensor
    shape = list(tensor.shape)
    room = max(64, _power(length))
    shape[axis] = min(room, most) if most else room
    grown = tensor.new_zeros(shape)
    grown.narrow(axis, 0, tensor.shape[axis]).copy_(tensor)
    return grown
