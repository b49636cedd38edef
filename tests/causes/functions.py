"""Squashing functions and products as other implementations have them, in numpy float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
F = np.float32


def sigmoid(v: Array) -> Array:
    return np.ones_like(v) / (F(1) + np.exp(-v))


def hard_sigmoid_fifth(v: Array) -> Array:
    clipped: Array = np.clip(F(0.2) * v + F(0.5), F(0), F(1))
    return clipped


def hard_sigmoid_sixth(v: Array) -> Array:
    return np.clip(v / F(6) + F(0.5), F(0), F(1))


def relu(v: Array) -> Array:
    return np.maximum(v, F(0))


def hard_tanh(v: Array) -> Array:
    return np.clip(v, F(-1), F(1))


def softsign(v: Array) -> Array:
    return v / (F(1) + np.abs(v))


def pade_tanh(v: Array) -> Array:
    return np.clip(v * (F(27) + v * v) / (F(27) + F(9) * v * v), F(-1), F(1))


def looked_up_tanh(v: Array) -> Array:
    """The entry below v of 256 from −8 to 8."""
    place = (np.clip(v, F(-8), F(8)) + F(8)) * F(255 / 16)
    entry: Array = np.tanh(np.linspace(-8, 8, 256)).astype(np.float32)[place.astype(int)]
    return entry


def softsign_sigmoid(v: Array) -> Array:
    return F(0.5) + F(0.5) * v / (F(1) + np.abs(v))


def plan_sigmoid(v: Array) -> Array:
    """Four pieces of straight line: Amin, Curtis and Hayes-Gill, Piecewise linear approximation applied to nonlinear
    function of a neural network, 1997."""
    a = np.abs(v)
    upper = np.select(
        [a >= 5, a >= 2.375, a >= 1],
        [np.ones_like(a), F(0.03125) * a + F(0.84375), F(0.125) * a + F(0.625)],
        F(0.25) * a + F(0.5),
    )
    return np.where(v < 0, F(1) - upper, upper).astype(np.float32)


def product(v: Array, w: Array) -> Array:
    """v (B, in), w (out, in) -> (B, out)."""
    return v @ w.T


def tf32_product(v: Array, w: Array) -> Array:
    return _short(v, 13) @ _short(w, 13).T


def bfloat16_product(v: Array, w: Array) -> Array:
    return _short(v, 16) @ _short(w, 16).T


def float16_product(v: Array, w: Array) -> Array:
    return v.astype(np.float16).astype(np.float32) @ w.astype(np.float16).astype(np.float32).T


def to_float16(v: Array) -> Array:
    return v.astype(np.float16).astype(np.float32)


def to_bfloat16(v: Array) -> Array:
    return _short(v, 16)


def cut_to_bfloat16(v: Array) -> Array:
    return (np.ascontiguousarray(v, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def with_an_offset(w: Array) -> Array:
    """In 8 bits, from the least number of a row to the greatest; a vector is one row."""
    low, high = w.min(-1, keepdims=True), w.max(-1, keepdims=True)
    scale = np.where(high > low, (high - low) / F(255), F(1))
    near: Array = np.round((w - low) / scale) * scale + low
    return near


def float16_sum(v: Array, w: Array) -> Array:
    """One term after the other onto a float16."""
    a, b = (one.astype(np.float16).astype(np.float32) for one in (v, w))
    total = np.zeros((len(v), len(w)), np.float16)
    for k in range(v.shape[1]):
        total = (total.astype(np.float32) + a[:, k, None] * b[None, :, k]).astype(np.float16)
    return total.astype(np.float32)


def int8(w: Array, per_row: bool) -> Array:
    """What a symmetric 8-bit copy of w (out, in) stands for, with one scale for all of it or one for each row."""
    largest = np.abs(w).max(axis=1, keepdims=True) if per_row else np.abs(w).max()
    scale = np.asarray(np.where(largest > 0, largest / F(127), F(1)), np.float32)
    return (np.round(w / scale) * scale).astype(np.float32)


def _short(v: Array, cut: int) -> Array:
    """Rounded to nearest even at `cut` bits less of mantissa."""
    bits = np.ascontiguousarray(v, np.float32).view(np.uint32)
    half = np.uint32((1 << (cut - 1)) - 1) + ((bits >> np.uint32(cut)) & np.uint32(1))
    return ((bits + half) & np.uint32(0xFFFFFFFF << cut & 0xFFFFFFFF)).view(np.float32)
