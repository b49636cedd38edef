"""Matrices in the cell state, over plain tensors and arrays alike: for each head one with a row for each key and a
column for each value, S (…, heads · keys · values), row after row.

What is made of matrices is linear in each, so that gradients are made by the same operations (`tape_matrices.py`).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import torch

V = TypeVar("V")


def matrix(s: Any, heads: int, keys: int) -> Any:
    """(…, heads, keys, values) of (…, heads · keys · values)."""
    return s.reshape(*s.shape[:-1], heads, keys, -1)


def by_head(v: Any, heads: int) -> Any:
    """(…, heads, ·)"""
    return v.reshape(*v.shape[:-1], heads, -1)


def flat(v: Any, axes: int) -> Any:
    """The last axes as one."""
    return v.reshape(*v.shape[:-axes], -1)


def along_values(k: Any, values: int) -> Any:
    """Each number of k for all of a row of its matrix: (…, heads · keys) to (…, heads · keys · values)."""
    return np.repeat(k, values, -1) if isinstance(k, np.ndarray) else torch.repeat_interleave(k, values, -1)


def along_keys(v: Any, heads: int, keys: int) -> Any:
    """Each number of v for all of a column of its matrix: (…, heads · values) to (…, heads · keys · values)."""
    rows = by_head(v, heads)[..., None, :]
    shape = (*rows.shape[:-2], keys, rows.shape[-1])
    return flat(np.broadcast_to(rows, shape) if isinstance(v, np.ndarray) else rows.expand(shape), 3)


def by_key(s: Any, q: Any, heads: int) -> Any:
    """Sᵀ q of each head: (…, heads · values)."""
    q = by_head(q, heads)
    return flat((q[..., None, :] @ matrix(s, heads, q.shape[-1]))[..., 0, :], 2)


def by_value(s: Any, v: Any, heads: int) -> Any:
    """S v of each head: (…, heads · keys)."""
    v = by_head(v, heads)
    return flat((matrix(s, heads, s.shape[-1] // heads // v.shape[-1]) @ v[..., None])[..., 0], 2)


def outer(k: Any, v: Any, heads: int) -> Any:
    """k vᵀ of each head: (…, heads · keys · values)."""
    return flat(by_head(k, heads)[..., :, None] * by_head(v, heads)[..., None, :], 3)


def side_by_side(blocks: tuple[Any, ...]) -> Any:
    """The blocks side by side, each with as many rows as the one with the most."""
    most = max(blocks, key=lambda block: block.ndim)
    if isinstance(most, np.ndarray):
        alike = all(block.ndim == most.ndim for block in blocks)
        rows = blocks if alike else [np.broadcast_to(block, (*most.shape[:-1], block.shape[-1])) for block in blocks]
        return np.concatenate(rows, -1)
    return torch.cat([block.expand(*most.shape[:-1], -1) for block in blocks], -1)


def cut(v: Any, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """(…, Σ sizes) in blocks of these sizes."""
    ends = np.cumsum(sizes).tolist()
    return tuple(v[..., end - size : end] for size, end in zip(sizes, ends, strict=True))


def delta(a: Any, s: Any, f: Any, b: Any, k: Any, v: Any, heads: int) -> Any:
    """f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ for each head, made of the other operations of an arithmetic."""
    kept = s if f is None else a.spread(f, s) * s
    return kept + a.outer(a.spread(b, k) * k, v - a.by_key(kept, k, heads), heads)


class PlainMatrices(Generic[V]):
    """The operations of `Plain` for matrices, and for a cell state of several blocks."""

    state_sizes: tuple[int, ...]
    """How many units each block of the cell state has."""

    def blocks(self, c: V) -> tuple[V, ...]:
        return cut(c, self.state_sizes)

    def packed(self, *blocks: V) -> V:
        made: V = side_by_side(blocks)
        return made

    def placed(self, block: Any, at: int) -> V:
        """The cell state with zeros in all other blocks."""
        zeros = np.zeros if isinstance(block, np.ndarray) else block.new_zeros
        parts = [zeros((*block.shape[:-1], size)) for size in self.state_sizes]
        made: V = side_by_side((*parts[:at], block, *parts[at + 1 :]))
        return made

    def outer(self, k: V, v: V, heads: int = 1) -> V:
        made: V = outer(k, v, heads)
        return made

    def by_key(self, s: V, q: V, heads: int = 1) -> V:
        made: V = by_key(s, q, heads)
        return made

    def by_value(self, s: V, v: V, heads: int = 1) -> V:
        made: V = by_value(s, v, heads)
        return made

    def spread(self, f: Any, s: Any) -> V:
        made: V = along_values(f, s.shape[-1] // f.shape[-1])
        return made

    def summed(self, s: Any, f: Any) -> V:
        """The transpose of `spread`: for each number of f the sum of the numbers of S that it multiplies."""
        made: V = s.reshape(*s.shape[:-1], f.shape[-1], -1).sum(-1)
        return made

    def carry_complex(self, p: Any, q: Any, c: Any, v: Any) -> V:
        re, im = cut(c, (p.shape[-1],) * 2)
        made: V = side_by_side((p * re - q * im, q * re + p * im)) + v
        return made

    def delta(self, s: V, f: V | None, b: V, k: V, v: V, heads: int = 1) -> V:
        made: V = delta(self, s, f, b, k, v, heads)
        return made
