"""Engines as plain as they come: one recurrent layer as a loop, sums in order, in C and in numpy."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.parameters import LayerParameters

KINDS = ("tanh", "relu", "gru", "lstm")
FLAGS = {"C": ("-O1",), "C fast": ("-O3", "-march=native", "-ffast-math")}

_LOOP = r"""
#include <math.h>
static float sig(float s) { return 1.0f / (1.0f + expf(-s)); }
/* kind 0 tanh, 1 relu, 2 gru, 3 lstm; one sequence; every sum from its first product to its last */
void run(int kind, int T, int I, int H, const float *x, const float *wi, const float *wh, const float *bi,
         const float *bh, float *h, float *c, float *s, float *v, float *out) {
  int G = kind == 3 ? 4 : kind == 2 ? 3 : 1;
  for (int t = 0; t < T; t++) {
    for (int j = 0; j < G * H; j++) {
      float a = 0, b = 0;
      for (int k = 0; k < I; k++) a += wi[j * I + k] * x[t * I + k];
      for (int k = 0; k < H; k++) b += wh[j * H + k] * h[k];
      s[j] = a + bi[j]; v[j] = b + bh[j];
    }
    for (int j = 0; j < H; j++) {
      float r = s[j] + v[j];
      if (kind == 0) r = tanhf(r);
      if (kind == 1) r = r > 0 ? r : 0;
      if (kind == 2) {
        float g = sig(r), z = sig(s[H + j] + v[H + j]), n = tanhf(s[2 * H + j] + g * v[2 * H + j]);
        r = (1 - z) * n + z * h[j];
      }
      if (kind == 3) {
        float f = sig(s[H + j] + v[H + j]), g = tanhf(s[2 * H + j] + v[2 * H + j]);
        c[j] = f * c[j] + sig(r) * g;
        r = sig(s[3 * H + j] + v[3 * H + j]) * tanhf(c[j]);
      }
      out[t * H + j] = r;
    }
    for (int j = 0; j < H; j++) h[j] = out[t * H + j];
  }
}
"""

HAS_C = shutil.which("gcc") is not None


@functools.cache
def _compiled(flags: tuple[str, ...]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        source, compiled, library = (Path(folder) / f"loop.{end}" for end in ("c", "o", "so"))
        source.write_text(_LOOP)
        subprocess.run(["gcc", *flags, "-c", "-fPIC", "-o", compiled, source], check=True)
        # Linked without -ffast-math, which would make the whole process flush denormals to zero when it is loaded.
        subprocess.run(["gcc", "-shared", "-o", library, compiled, "-lm"], check=True)
        return ctypes.CDLL(str(library))


def in_c(engine: str, kind: str, p: LayerParameters, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
    """x (T, 1, I) in float32. -ffast-math at -O3 reorders sums into lanes and fuses what it can."""
    steps, inputs = len(x), x.shape[2]
    zero = torch.zeros(len(p.weight_hh))
    bi, bh = (zero if b is None else b for b in (p.bias_ih, p.bias_hh))
    out = torch.empty(steps, 1, h0.shape[1])
    tensors = [x.contiguous(), p.weight_ih, p.weight_hh, bi, bh, h0[0].clone(), c0[0].clone()]
    tensors += [zero.clone(), zero.clone(), out]
    pointers = (ctypes.c_void_p(a.data_ptr()) for a in tensors)
    _compiled(FLAGS[engine]).run(KINDS.index(kind), steps, inputs, h0.shape[1], *pointers)
    return out


def in_numpy(kind: str, p: LayerParameters, x: Tensor, h0: Tensor, c0: Tensor, operand: Any = lambda v: v) -> Tensor:
    """x (T, 1, I) in float32. `operand` is what becomes of a product's factors."""

    def summed(w: Tensor, v: np.ndarray[Any, Any], b: Tensor | None) -> np.ndarray[Any, Any]:
        products = operand(w.numpy()) * operand(v)
        s: np.ndarray[Any, Any] = np.add.accumulate(products, axis=1, dtype=np.float32)[:, -1]
        return s if b is None else np.add(s, b.numpy())

    def sigmoid(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.reciprocal(np.float32(1) + np.exp(-s))

    h, c, out = h0[0].numpy(), c0[0].numpy(), []
    with np.errstate(all="ignore"):
        for row in x[:, 0].numpy():
            u, v = summed(p.weight_ih, row, p.bias_ih), summed(p.weight_hh, h, p.bias_hh)
            s = np.split(u + v, len(u) // len(c))
            if kind == "tanh":
                h = np.tanh(s[0])
            elif kind == "relu":
                h = np.maximum(s[0], 0)
            elif kind == "gru":
                z, n = sigmoid(s[1]), np.tanh(np.split(u, 3)[2] + sigmoid(s[0]) * np.split(v, 3)[2])
                h = n + z * (h - n)
            else:
                c = sigmoid(s[1]) * c + sigmoid(s[0]) * np.tanh(s[2])
                h = sigmoid(s[3]) * np.tanh(c)
            out.append(torch.from_numpy(h.astype(np.float32)))
    return torch.stack(out).unsqueeze(1)


def to_ten_bits(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An operand as a TF32 product takes it: ten bits of fraction, to nearest."""
    bits = v.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def cut_to_ten_bits(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same towards zero, as tensor cores do with what they are given in float32."""
    return (v.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
