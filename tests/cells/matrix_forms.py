"""Examples of cells with matrices, computed many steps at once in torch, without a line of the package: chunks with a
matrix of decays, the delta rule in chunks (Yang, Wang, Zhang, Shen & Kim 2024, arXiv 2406.06484, section 3), all steps
of an mLSTM at once (Beck et al. 2024, arXiv 2405.04517, appendix A.3), a parallel scan of Mamba's, chunks with powers
of the complex decays of a linear recurrent unit.

Each is a sequence function of a network with two heads and four numbers a key (three of the retention), made with the
number of steps in a chunk and with a mistake: "" for none, or one of `MISTAKES`. Decays in log space are float32 or
wider, whatever the dtype of the rest, as in people's kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tests.cells.forms import tree

Sequence = Callable[..., Any]
HEADS = 2
LOST, OWN_STEP, UNSCALED, SHORT = "state lost", "own step decays", "not scaled", "short chunk's decay"
MISTAKES = (LOST, OWN_STEP, UNSCALED, SHORT)


def in_heads(x: Tensor) -> Tensor:
    """(B, T, heads · d) as (B, heads, T, d)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def together(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(-2)


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def decays_of(logs: Tensor, own: bool) -> Tensor:
    """exp of the sums of logs (…, n) from each step to each later one, (…, n, n); zero where it is earlier. `own`: with
    that of the earlier step as well."""
    sums = logs.cumsum(-1)
    apart = sums[..., :, None] - sums[..., None, :] + (logs[..., None, :] if own else 0)
    later = torch.ones(apart.shape[-2:], dtype=torch.bool).tril()
    return apart.masked_fill(~later, -torch.inf).exp()


def retnet(chunk: int, mistake: str = "") -> Sequence:
    def forward(x: Tensor, state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor, theta_l0: Tensor) -> Any:
        wx = x @ weight_ih_l0.T + bias_ih_l0
        q, k, v = (in_heads(one) for one in wx.split([6, 6, wx.shape[-1] - 12], -1))
        log = wide(theta_l0).sigmoid().log().view(1, HEADS, 1)
        s, out = state[1][0].view(len(x), HEADS, 3, -1), []
        for start in range(0, x.shape[1], chunk):
            qs, ks, vs = (one[:, :, start : start + chunk] for one in (q, k, v))
            steps = qs.shape[2]
            logs = log.expand(1, HEADS, steps)
            left = chunk if mistake == SHORT else steps
            inside = decays_of(logs, mistake == OWN_STEP).to(x)
            to_each, to_end = (wide(one).exp().to(x) for one in (logs.cumsum(-1), log * left - logs.cumsum(-1)))
            out.append((qs @ ks.transpose(-1, -2) * inside) @ vs + to_each[..., None] * (qs @ s))
            kept = torch.zeros_like(s) if mistake == LOST else (log * left).exp().to(x)[..., None] * s
            s = kept + (ks * to_end[..., None]).transpose(-1, -2) @ vs
        output = together(torch.cat(out, 2))
        return output, (output[:, -1][None], s.flatten(1)[None])

    return forward


def gated_delta(chunk: int, mistake: str = "") -> Sequence:
    def forward(
        x: Tensor, state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor, A_log_l0: Tensor, dt_bias_l0: Tensor
    ) -> Any:
        wx = x @ weight_ih_l0.T + bias_ih_l0
        q, k, v, b, g = wx.split([8, 8, wx.shape[-1] - 20, 2, 2], -1)
        q, k, v, b = in_heads(q), in_heads(k), in_heads(v), b.sigmoid().transpose(1, 2)[..., None]
        g = (-wide(A_log_l0).exp() * softplus(wide(g) + wide(dt_bias_l0))).transpose(1, 2)
        s, out = state[1][0].view(len(x), HEADS, 4, -1), []
        for start in range(0, x.shape[1], chunk):
            qs, ks, vs, bs = (one[:, :, start : start + chunk] for one in (q, k, v, b))
            logs = g[:, :, start : start + chunk]
            inside, to_each = decays_of(logs, mistake == OWN_STEP).to(x), logs.cumsum(-1).exp().to(x)[..., None]
            to_end = (logs.sum(-1, keepdim=True) - logs.cumsum(-1)).exp().to(x)[..., None]
            among = ((ks * bs) @ ks.transpose(-1, -2) * inside).tril(-1)
            one = torch.eye(qs.shape[2], dtype=wide(x).dtype)
            solved = torch.linalg.solve_triangular(one + wide(among), one.expand_as(among), upper=False).to(x)
            new = solved @ (vs * bs) - (solved @ (ks * bs * to_each)) @ s
            out.append((qs * to_each) @ s + (qs @ ks.transpose(-1, -2) * inside) @ new)
            kept = torch.zeros_like(s) if mistake == LOST else to_each[:, :, -1:] * s
            s = kept + (ks * (1 if mistake == SHORT and len(logs[0, 0]) < chunk else to_end)).transpose(-1, -2) @ new
        output = together(torch.cat(out, 2)) * (1 if mistake == UNSCALED else 0.5)
        return output, (output[:, -1][None], s.flatten(1)[None])

    return forward


def mlstm(_chunk: int, mistake: str = "") -> Sequence:
    def forward(x: Tensor, state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> Any:
        units = (len(weight_ih_l0) - 20) // 2
        wx = x @ weight_ih_l0.T + bias_ih_l0
        q, k, v, i, f, o = wx.split([8, 8, units, 2, 2, units], -1)
        q, k, v = in_heads(q), in_heads(k) * (1 if mistake == UNSCALED else 0.5), in_heads(v)
        i, logs = wide(i).transpose(1, 2), logsigmoid(wide(f)).transpose(1, 2)
        s, n, m = state[1][0].split([4 * units, 8, 2], -1)
        s, n = s.view(len(x), HEADS, 4, -1), n.view(len(x), HEADS, 4)
        within = decays_of(logs, mistake == OWN_STEP).log() + i[..., None, :]
        begun = logs.cumsum(-1) + wide(m)[..., None]
        top = torch.maximum(within.amax(-1), begun)
        weights, old = (within - top[..., None]).exp().to(x), (begun - top).exp().to(x)
        if mistake == LOST:
            old = torch.zeros_like(old)
        read = q @ k.transpose(-1, -2) * weights
        size = read.sum(-1) + old * (q @ n[..., None])[..., 0]
        h = (read @ v + old[..., None] * (q @ s)) / torch.maximum(size.abs(), (-top).exp().to(x))[..., None]
        output, last = o.sigmoid() * together(h), weights[..., -1, :, None]
        s = old[..., -1, None, None] * s + (k * last).transpose(-1, -2) @ v
        n = old[..., -1, None] * n + (k * last).sum(-2)
        return output, (output[:, -1][None], torch.cat([s.flatten(1), n.flatten(1), top[..., -1].to(x)], -1)[None])

    return forward


def s6(_chunk: int, mistake: str = "") -> Sequence:
    def forward(
        x: Tensor,
        state: Any,
        weight_ih_l0: Tensor,
        bias_ih_l0: Tensor,
        A_log_l0: Tensor,
        D_l0: Tensor,
        dt_bias_l0: Tensor,
    ) -> Any:
        units = len(D_l0)
        u, d, b, r = (x @ weight_ih_l0.T + bias_ih_l0).split([units, units, 4, 4], -1)
        d = softplus(d + dt_bias_l0)
        a = (d[..., None] * -A_log_l0.exp()).exp()
        terms = (d * u)[..., None] * b[:, :, None] * (a if mistake == OWN_STEP else 1)
        first = state[1][0].unflatten(-1, (units, 4)) * (0 if mistake == LOST else 1)
        s = tree(a.transpose(0, 1), terms.transpose(0, 1), first).transpose(0, 1)
        output = (s * r[:, :, None]).sum(-1) + D_l0 * u
        return output, (output[:, -1][None], s[:, -1].flatten(1)[None])

    return forward


def lru(chunk: int, mistake: str = "") -> Sequence:
    """In chunks of 8 steps the powers of a decay are products, in longer ones exp(t log λ)."""

    def forward(
        x: Tensor,
        state: Any,
        weight_ih_l0: Tensor,
        bias_ih_l0: Tensor,
        nu_log_l0: Tensor,
        theta_log_l0: Tensor,
        gamma_log_l0: Tensor,
        C_re_l0: Tensor,
        C_im_l0: Tensor,
    ) -> Any:
        size, phase, gamma = (wide(log).exp() for log in (nu_log_l0, theta_log_l0, gamma_log_l0))
        n = len(size)
        r, i, d = (x @ weight_ih_l0.T + bias_ih_l0).split([n, n, len(weight_ih_l0) - 2 * n], -1)
        b = torch.complex(wide(r), wide(i)) * gamma
        c, out = torch.complex(*wide(state[1][0]).split(n, -1)), []
        t = torch.arange(chunk + 1).unsqueeze(1)
        powers = torch.polar((-size * t).exp(), phase * t)
        if chunk == 8:
            powers = torch.cat([torch.ones_like(powers[:1]), powers[1].expand(chunk, n).cumprod(0)])
        for start in range(0, x.shape[1], chunk):
            each = b[:, start : start + chunk]
            steps = each.shape[1]
            apart = (torch.arange(steps)[:, None] - torch.arange(steps) + (mistake == OWN_STEP)).clamp(min=0)
            inside = powers[apart] * torch.ones(steps, steps).tril()[..., None]
            kept = torch.zeros_like(c) if mistake == LOST and start else c
            out.append(torch.einsum("tsn,bsn->btn", inside, each) + powers[1 : steps + 1] * kept[:, None])
            c = out[-1][:, -1]
        re, im = (part.to(x) for part in (torch.cat(out, 1).real, torch.cat(out, 1).imag))
        output = re @ C_re_l0.T - im @ C_im_l0.T + d
        return output, (output[:, -1][None], torch.cat([re[:, -1], im[:, -1]], -1)[None])

    return forward


FORMS: dict[str, Callable[[int, str], Sequence]] = {
    "retnet": retnet,
    "gated_delta": gated_delta,
    "mlstm": mlstm,
    "s6": s6,
    "lru": lru,
}
LOGS = ("retnet", "gated_delta", "mlstm")
"""Those that add up logarithms of decays."""
POSSIBLE = {
    "retnet": (LOST, OWN_STEP, SHORT),
    "gated_delta": (LOST, OWN_STEP, UNSCALED, SHORT),
    "mlstm": (LOST, OWN_STEP, UNSCALED),
    "s6": (LOST, OWN_STEP),
    "lru": (LOST, OWN_STEP),
}
"""The mistakes that each form can be made with."""
