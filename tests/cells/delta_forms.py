"""The gated delta rule as kernels have it: queries, keys, values, β and the logarithms of decays are given. In torch,
without a line of the package: step by step, and in chunks as in naive_chunk_gated_delta_rule of flash-linear-attention
0.6.0, of which the sums of logarithms may be float32 or float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.test_examples import cell

EXAMPLE = cell("gated_delta")
DECAYS = ("fla", "drawn", "slow")


@dataclass(frozen=True)
class Given:
    """What a run is given, (steps, heads, ·), in float32: q and k of length 1, v, β and the logarithms of decays."""

    q: Tensor
    k: Tensor
    v: Tensor
    b: Tensor
    g: Tensor

    @property
    def x(self) -> Tensor:
        """(1, steps, all of them)"""
        return torch.cat([one.flatten(1) for one in (self.q, self.k, self.v, self.b, self.g)], -1)[None]

    @property
    def cell(self) -> Cell:
        heads, keys = self.q.shape[1:]

        def step(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
            q, k, v, b, g = a.split(wx)
            s = a.delta(c, a.exp(g), b, k, v, heads)
            return {"q": q, "k": k, "v": v, "b": b, "g": g, "c": s, "h": a.constant("scale") * a.by_key(s, q, heads)}

        numbers = (("heads", heads), ("d_k", keys), ("scale", keys**-0.5))
        given = replace(EXAMPLE, name="given_delta", step=step, constants=numbers, parameters=(), functions=("exp",))
        return replace(given, has_projection_of_x=False)


def drawn(heads: int, keys: int, steps: int, decays: str, seed: int) -> Given:
    """Decays as fla's layer begins with, of a drawn size, or such that hardly anything is forgotten."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(steps, heads, keys, generator=generator) for _ in range(3))
    b, s = (torch.randn(steps, heads, generator=generator) for _ in range(2))
    rate, shift = (torch.randn(heads, generator=generator) * 0.3).exp(), torch.randn(heads, generator=generator)
    if decays == "fla":
        rate, dt = (torch.rand(heads, generator=generator) for _ in range(2))
        dt = torch.exp(dt * math.log(100) - math.log(1000))  # from 0.001 to 0.1
        rate, shift, s = rate * 16, dt + torch.log(-torch.expm1(-dt)), s / 2
    if decays == "slow":
        shift = shift - 5
    return Given(normalize(q, dim=-1), normalize(k, dim=-1), v, b.sigmoid(), -rate * softplus(s + shift))


Form = Callable[[Given], tuple[Tensor, Tensor]]
"""From what is given to h, (steps, heads · values), and the matrices after the last step, one row after the other."""


def step_by_step(given: Given) -> tuple[Tensor, Tensor]:
    keys = given.q.shape[-1]
    s, out = torch.zeros(given.q.shape[1], keys, given.v.shape[-1]), []
    for q, k, v, b, g in zip(given.q, given.k, given.v, given.b, given.g, strict=True):
        s = s * g.exp()[:, None, None]
        s = s + k[..., None] * ((v - (s * k[..., None]).sum(-2)) * b[:, None])[:, None]
        out.append(torch.einsum("hk,hkv->hv", q * keys**-0.5, s))
    return torch.stack(out).flatten(1), s.flatten()


def in_chunks(chunk: int, logs: torch.dtype) -> Form:
    def form(given: Given) -> tuple[Tensor, Tensor]:
        q, k, v = (one.transpose(0, 1) for one in (given.q * given.q.shape[-1] ** -0.5, given.k, given.v))
        s, out = torch.zeros(len(q), k.shape[-1], v.shape[-1]), []
        for start in range(0, q.shape[1], chunk):
            at = slice(start, start + chunk)
            qs, ks, vs, b, sums = q[:, at], k[:, at], v[:, at], given.b[at].T[..., None], given.g[at].T.to(logs)
            sums = sums.cumsum(-1)
            inside = (sums[..., :, None] - sums[..., None, :]).tril().exp().float().tril()
            to_each, to_end = sums.exp().float()[..., None], (sums[:, -1:] - sums).exp().float()[..., None]
            solved = -((ks * b) @ ks.mT * inside).tril(-1)
            for i in range(1, solved.shape[-1]):
                solved[:, i, :i] += (solved[:, i, :i, None] * solved[:, :i, :i]).sum(-2)
            solved = solved + torch.eye(solved.shape[-1])
            new = solved @ (vs * b) - (solved @ (ks * b * to_each)) @ s
            out.append((qs * to_each) @ s + (qs @ ks.mT * inside) @ new)
            s = s * to_each[:, -1:] + (ks * to_end).mT @ new
        return torch.cat(out, 1).transpose(0, 1).flatten(1), s.flatten()

    return form
