"""The cells of `test_examples.py` written again, in torch and one step at a time, without a line of the package: each
right, and with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

Step = Callable[..., Any]


def mgu(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_f, x_n), (w_f, w_n) = (x_t @ weight_ih.T + bias_ih).chunk(2, -1), weight_hh.chunk(2)
        b_f, b_n = bias_hh.chunk(2)
        f = torch.sigmoid(x_f + h @ w_f.T + b_f)
        n = torch.tanh(x_n + (h if changed else f * h) @ w_n.T + b_n)
        return (1 - f) * h + f * n

    return step


def indrnn(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(x_t @ weight_ih.T + bias_ih + (u.flip(0) if changed else u) * h)

    return step


def mingru(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        z = torch.sigmoid(z)
        return (1 - z) * n + z * h if changed else (1 - z) * h + z * n

    return step


def minlstm(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        f, i, n = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        f, i = torch.sigmoid(f), torch.sigmoid(i)
        return f * h + i * n if changed else f / (f + i) * h + i / (f + i) * n

    return step


def layer_norm_lstm(changed: bool, norm: Callable[..., Tensor] = layer_norm) -> Step:
    """Changed: each gate by itself. `norm` is called as torch's is."""

    def step(
        x_t: Tensor, state: Any, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor,
        gain_x: Tensor, gain_h: Tensor, shift: Tensor, gain_c: Tensor, shift_c: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        h, c = state
        units = h.shape[-1]
        over = (units,) if changed else (4, units)
        by_x = (x_t @ weight_ih.T + bias_ih).unflatten(-1, (4, units))
        by_h = (h @ weight_hh.T + bias_hh).unflatten(-1, (4, units))
        s = gain_x * norm(by_x, over, eps=1e-5) + gain_h * norm(by_h, over, eps=1e-5) + shift
        i, f, g, o = s.unbind(-2)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(norm(c, (units,), gain_c, shift_c, 1e-5)), c

    return step


def retnet(changed: bool) -> Step:
    def step(x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, theta: Tensor) -> Any:
        wx, s = x_t @ weight_ih.T + bias_ih, state[1].view(len(x_t), 2, 3, -1)
        q, k, v = (one.view(len(x_t), 2, -1) for one in wx.split([6, 6, wx.shape[1] - 12], 1))
        kv = torch.einsum("bhk,bhv->bhkv", k, v)
        read = s if changed else torch.sigmoid(theta).view(2, 1, 1) * s + kv
        s = torch.sigmoid(theta).view(2, 1, 1) * s + kv
        return torch.einsum("bhk,bhkv->bhv", q, read).flatten(1), s.flatten(1)

    return step


def sru(changed: bool) -> Step:
    """Changed: r sees the new c."""

    def step(x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, v_f: Tensor, v_r: Tensor) -> Any:
        _, before = state
        n, f, r, k = (x_t @ weight_ih.T + bias_ih).chunk(4, -1)
        f = torch.sigmoid(f + v_f * before)
        c = f * before + (1 - f) * n
        r = torch.sigmoid(r + v_r * (c if changed else before))
        return r * c + (1 - r) * k, c

    return step


def gated_delta(changed: bool) -> Step:
    def step(x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, A_log: Tensor, dt_bias: Tensor) -> Any:
        wx, s = x_t @ weight_ih.T + bias_ih, state[1].view(len(x_t), 2, 4, -1)
        q, k, v, b, g = wx.split([8, 8, wx.shape[1] - 20, 2, 2], 1)
        q, k, v = (one.view(len(x_t), 2, -1) for one in (q, k, v))
        b, g = torch.sigmoid(b), torch.exp(-A_log.exp() * torch.nn.functional.softplus(g + dt_bias))
        kept = s * g[..., None, None]
        told = torch.einsum("bhk,bhkv->bhv", k, s if changed else kept)
        s = kept + torch.einsum("bhk,bhv->bhkv", k * b[..., None], v - told)
        return torch.einsum("bhk,bhkv->bhv", q, s).flatten(1) / 2, s.flatten(1)

    return step


def slstm(changed: bool) -> Step:
    """Changed: the normaliser takes the forget gate for the input gate."""

    def step(
        x_t: Tensor, state: Any, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> tuple[Tensor, Tensor]:
        h, (c, n, m) = state[0], state[1].chunk(3, -1)
        z, i, f, o = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(4, -1)
        kept = torch.nn.functional.logsigmoid(f) + m
        new = torch.maximum(kept, i)
        c = torch.exp(kept - new) * c + torch.exp(i - new) * torch.tanh(z)
        n = torch.exp(kept - new) * n + torch.exp((f if changed else i) - new)
        return torch.sigmoid(o) * (c / n), torch.cat([c, n, new], -1)

    return step


def mlstm(changed: bool) -> Step:
    """Changed: without the lower limit of the normaliser."""

    def step(x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor) -> tuple[Tensor, Tensor]:
        items, units = len(x_t), (len(weight_ih) - 20) // 2
        q, k, v, i, f, o = (x_t @ weight_ih.T + bias_ih).split([8, 8, units, 2, 2, units], -1)
        q, k, v = q.view(items, 2, 4), k.view(items, 2, 4) / 2, v.view(items, 2, -1)
        s, n, m = state[1].split([4 * units, 8, 2], -1)
        s, n = s.view(items, 2, 4, -1), n.view(items, 2, 4)
        kept = torch.nn.functional.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        f, i = torch.exp(kept - m)[..., None], torch.exp(i - m)[..., None]
        s = f[..., None] * s + i[..., None] * torch.einsum("bhk,bhv->bhkv", k, v)
        n = f * n + i * k
        size = torch.einsum("bhk,bhk->bh", n, q).abs()
        size = size if changed else torch.maximum(size, torch.exp(-m))
        h = torch.einsum("bhk,bhkv->bhv", q, s) / size[..., None]
        return torch.sigmoid(o) * h.flatten(1), torch.cat([s.flatten(1), n.flatten(1), m], -1)

    return step


def s6(changed: bool) -> Step:
    """Changed: A_log is read as A."""

    def step(
        x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, A_log: Tensor, D: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        units = len(D)
        u, d, b, r = (x_t @ weight_ih.T + bias_ih).split([units, units, 4, 4], -1)
        d = torch.nn.functional.softplus(d + dt_bias)
        a = -A_log.abs() if changed else -A_log.exp()
        s = torch.exp(d[..., None] * a) * state[1].unflatten(-1, (units, 4)) + (d * u)[..., None] * b[:, None]
        return (s * r[:, None]).sum(-1) + D * u, s.flatten(1)

    return step


def mamba(changed: bool) -> Step:
    """Changed: the convolution has its weights in the other order."""

    def step(
        x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, w0: Tensor, w1: Tensor, w2: Tensor, w3: Tensor,
        conv_bias: Tensor, dt_bias: Tensor, D: Tensor, dt_up: Tensor, dt_down: Tensor, out: Tensor, B: Tensor,
        C: Tensor, A_log: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        v, z = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        kept, s = state[1].split([24, 32], -1)
        window = torch.cat([v, kept], -1).unflatten(-1, (4, 8))
        weights = torch.stack([w3, w2, w1, w0] if changed else [w0, w1, w2, w3])
        u = torch.nn.functional.silu((window * weights).sum(-2) + conv_bias)
        d = torch.nn.functional.softplus(u @ (dt_up @ dt_down).T + dt_bias)
        kept_s = torch.exp(-d[..., None] * A_log.exp()) * s.unflatten(-1, (8, 4))
        s = kept_s + torch.einsum("bi,bn->bin", d * u, u @ B.T)
        y = torch.einsum("bin,bn->bi", s, u @ C.T) + D * u
        return (y * torch.nn.functional.silu(z)) @ out.T, torch.cat([v, kept[:, :16], s.flatten(1)], -1)

    return step


def lru(changed: bool) -> Step:
    """With complex numbers, which bfloat16 has not. Changed: the phase is turned the other way."""

    def step(
        x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, nu_log: Tensor, theta_log: Tensor,
        gamma_log: Tensor, C_re: Tensor, C_im: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        wx, n = x_t @ weight_ih.T + bias_ih, len(nu_log)
        kind = torch.promote_types(x_t.dtype, torch.float32)
        re, im, d = wx.split([n, n, wx.shape[-1] - 2 * n], -1)
        phase = torch.exp(theta_log) * (-1 if changed else 1)
        decay = torch.polar(torch.exp(-torch.exp(nu_log)).to(kind), phase.to(kind))
        before, b, w = (torch.complex(*(one.to(kind) for one in pair)) for pair in (
            state[1].chunk(2, -1), (torch.exp(gamma_log) * re, torch.exp(gamma_log) * im), (C_re, C_im),
        ))  # fmt: skip
        c = decay * before + b
        new = (c @ w.T).real + d, torch.cat([c.real, c.imag], -1)
        return new[0].to(x_t.dtype), new[1].to(x_t.dtype)

    return step


EVERY = (mgu, indrnn, mingru, minlstm, sru, layer_norm_lstm, retnet, gated_delta, slstm, mlstm, s6, mamba, lru)
LOOPS = {one.__name__: one for one in EVERY}
