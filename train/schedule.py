"""Learning rate and momentum as pure functions of progress: no state, nothing to save.

A multiplier is warmup(step) * decay(u) with u in [0, 1] the fraction of the run that is done.
"""

from __future__ import annotations

import math


def warmup(step: int, steps: int) -> float:
    """(step+1)/steps until it is 1."""
    return 1.0 if steps <= 0 else min(1.0, (step + 1) / steps)


def wsd(u: float, decay: float, floor: float = 0.0) -> float:
    """Warm-up, stable, decay: 1 until the last `decay` fraction of the run, then linear to `floor` at u = 1."""
    if decay <= 0 or u <= 1 - decay:
        return 1.0
    return floor + (1 - floor) * max(0.0, 1 - u) / decay


def cosine(u: float, floor: float = 0.0) -> float:
    """floor + (1-floor)(1+cos(pi u))/2."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, u))))


def multiplier(kind: str, step: int, u: float, warmup_steps: int, decay: float, floor: float) -> float:
    """What the peak learning rates are multiplied with at this step. `kind` is 'wsd' or 'cosine'."""
    if kind not in ("wsd", "cosine"):
        raise ValueError(f"schedule must be wsd or cosine, not {kind!r}")
    return warmup(step, warmup_steps) * (wsd(u, decay, floor) if kind == "wsd" else cosine(u, floor))


def momentum(step: int, start: float = 0.85, end: float = 0.95, steps: int = 300) -> float:
    """Muon's momentum, warmed up linearly over the first `steps` updates."""
    return start + (end - start) * min(1.0, step / steps) if steps else end
