"""Conversations to rows: what the assistant says is learnt, the rest is read.

Conversations stand end to end in rows of a fixed length, each with its own document number, so that none sees another;
what does not fit in the window is cut off, and with it the end token's weight. Rows are filled up with padding that is
neither learnt nor seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from train.batch import IGNORED, Batch

Encoded = tuple[Sequence[int], Sequence[bool]]  # ids, and which of them are learnt


def conversation_rows(conversations: Sequence[Encoded], length: int, pad: int, end: int, boost: float) -> Batch:
    """One Batch [N, length] of all conversations in the order given, next fit.

    A target is IGNORED unless it is learnt; its weight is `boost` where it is the token `end`, else 1.
    """
    rows: list[list[Encoded]] = []
    room = 0
    for ids, learnt in conversations:
        size = min(len(ids) - 1, length)
        if size < 1 or not any(learnt[1 : size + 1]):
            continue  # nothing of what is learnt lies in the window
        if size > room:
            rows.append([])
            room = length
        rows[-1].append((ids, learnt))
        room -= size
    shape = (len(rows), length)
    inputs, targets = np.full(shape, pad, np.int64), np.full(shape, IGNORED, np.int64)
    weights, documents = np.ones(shape, np.float32), np.full(shape, -1, np.int64)
    for row, members in enumerate(rows):
        at = 0
        for number, (ids, learnt) in enumerate(members):
            size = min(len(ids) - 1, length)
            following = np.asarray(ids[1 : size + 1])
            inputs[row, at : at + size] = ids[:size]
            targets[row, at : at + size] = np.where(learnt[1 : size + 1], following, IGNORED)
            weights[row, at : at + size] = np.where(following == end, boost, 1.0)
            documents[row, at : at + size] = number
            at += size
    return Batch(*(torch.from_numpy(a) for a in (inputs, targets, weights, documents)))
