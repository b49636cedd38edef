"""The selective scan of Mamba: a matrix of decayed numbers, with a step size of each unit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tests.planted_forms.edges import padded_parts, turned
from tests.planted_forms.minimal import PADDED
from tests.planted_forms.plans import How, Parameters, Planted, State, rows
from tests.planted_forms.scans import EVERYWHERE, FORMS, SCANS, scan
from tests.planted_forms.whole import WHOLE

N = 4
STEP_SIZES = {
    "dt_bias is left out": "line-parameter-left-out line-term-left-out",
    "dt_bias counts twice": "",
    "dt_bias is added behind softplus": "",
    "softplus is left out": "line-function-left-out",
    "softplus is left out in the decay": "line-function-left-out",
    "softplus is left out in what is added": "line-function-left-out",
    "exp stands for softplus": "",
    "A without its minus": "line-constant line-sign",
    "A_log read as A": "line-function-left-out",
    "A_log read as −A": "line-function-left-out",
    "A in another order": "",
    "Δ is left out of what is added": "line-factor-left-out",
    "Δ is left out of the decay": "line-factor-left-out",
    "Δ of the step before in what is added": "",
    "zero-order hold of what is added": "",
    "D is left out": "line-term-left-out line-parameter-left-out",
    "D without u": "line-factor-left-out",
    "reads S before the step": "line-state-read-early",
    "reads S before its decay": "decay-own-step",
    "what is read is scaled by 1/√n": "",
}
"""Mistakes of both files that have a step size: this one, and that of the whole block."""
S6_MISTAKES = rows(
    FORMS,
    {
        **STEP_SIZES,
        "B and C exchanged": "gate-order",
        "u and Δ exchanged": "gate-order",
        "silu of u": "",
        "reads by C of the step before": "",
        "axes of the initial state exchanged": "chunk-state-exchanged",
        "axes of the final state exchanged": "chunk-state-exchanged",
    },
)
AXES = rows(("matrix", "division", "tree"), {"axes of the state exchanged at edges": "chunk-state-exchanged"})


def discrete(u: Tensor, s_d: Tensor, b: Tensor, p: Parameters, wrong: str) -> tuple[Tensor, Tensor]:
    """Decays and what is added, (batch, step, unit, n), from u, the step size before its function, and B."""
    bias = {"dt_bias is left out": 0.0, "dt_bias counts twice": 2.0}.get(wrong, 1.0) * p["dt_bias"]
    d = softplus(s_d + bias)
    if wrong == "dt_bias is added behind softplus":
        d = softplus(s_d) + bias
    if wrong == "exp stands for softplus":
        d = (s_d + bias).exp()
    plain = wrong.startswith("softplus is left out")
    in_decay, in_added = d, d
    if plain and "what is added" not in wrong:
        in_decay = s_d + bias
    if plain and "decay" not in wrong:
        in_added = s_d + bias
    if wrong == "Δ of the step before in what is added":
        in_added = torch.cat([d[:, :1], d[:, :-1]], 1)
    if wrong == "Δ is left out of what is added":
        in_added = torch.ones_like(d)
    if wrong == "Δ is left out of the decay":
        in_decay = torch.ones_like(d)
    log = p["A_log"]
    rate = -log.exp()
    if wrong == "A without its minus":
        rate = -rate
    if wrong == "A_log read as A":
        rate = log
    if wrong == "A_log read as −A":
        rate = -log
    if wrong == "A in another order":
        rate = rate.reshape(rate.T.shape).T
    a = (in_decay[..., None] * rate).exp()
    added = (in_added * u)[..., None] * b[:, :, None]
    if wrong == "zero-order hold of what is added":
        added = (a - 1) / rate * u[..., None] * b[:, :, None]
    return a, added


def read(states: Tensor, before: Tensor, added: Tensor, r: Tensor, wrong: str) -> Tensor:
    """S r of each step; `before` are the states before the steps."""
    if wrong == "reads S before the step":
        states = before
    if wrong == "reads S before its decay":
        states = before + added
    out = (states * r[:, :, None]).sum(-1)
    return out / N**0.5 if wrong == "what is read is scaled by 1/√n" else out


def skip(u: Tensor, p: Parameters, wrong: str) -> Tensor:
    if wrong == "D is left out":
        return torch.zeros_like(u)
    return p["D"].expand_as(u) if wrong == "D without u" else p["D"] * u


def _projected(x: Tensor, p: Parameters, wrong: str) -> tuple[Tensor, ...]:
    units = p["D"].shape[0]
    u, s_d, b, r = (x @ p["weight_ih"].T + p["bias_ih"]).split([units, units, N, N], -1)
    if wrong == "B and C exchanged":
        b, r = r, b
    if wrong == "u and Δ exchanged":
        u, s_d = s_d, u
    if wrong == "silu of u":
        u = u * u.sigmoid()
    return u, s_d, b, r


def s6(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind = how.kind
    u, s_d, b, r = _projected(x, p, kind)
    start = state[0].unflatten(-1, (u.shape[-1], N))
    if kind == "axes of the initial state exchanged":
        start = turned(start)

    def of_zeros(short: int) -> tuple[Tensor, Tensor]:
        u, s_d, b, _ = _projected(x.new_zeros(x.shape[0], short, x.shape[2]), p, "")
        a, added = discrete(u, s_d, b, p, "")
        return a, 0 * added

    a, added = discrete(u, s_d, b, p, kind)
    states, last = scan(*padded_parts((a, added), of_zeros, how), start, how)
    states = states[:, : x.shape[1]]
    if kind == "reads by C of the step before":
        r = torch.cat([r[:, :1], r[:, :-1]], 1)
    out = read(states, torch.cat([start[:, None], states[:, :-1]], 1), added, r, kind) + skip(u, p, kind)
    if kind == "axes of the final state exchanged":
        last = turned(last)
    return out, (last.flatten(1),)


S6 = Planted(s6, FORMS, (*SCANS, *EVERYWHERE, *WHOLE, *PADDED, *S6_MISTAKES, *AXES), largest=1.5)
