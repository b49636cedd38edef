"""The linear recurrent unit, whose state is complex and whose decays are the same at each step."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.planted_forms.edges import Parts, lower, over_chunks
from tests.planted_forms.plans import How, Parameters, Planted, State, rows, with_constant_decays, without
from tests.planted_forms.scans import EVERYWHERE, FORMS, SCANS, scan
from tests.planted_forms.whole import WHOLE

ALL = (*FORMS, "powers")
POWERS = rows(
    ("powers",),
    {
        "zeros at edges": "chunk-state-lost",
        "initial state at edges": "chunk-state-lost",
        "added alone is handed on": "chunk-state-lost",
        "state twice at edges": "chunk-state-doubled",
        "last step again at edges": "chunk-step-apart",
        "powers of the carried state begin with 0": "chunk-decay-apart",
        "powers of the carried state begin with 2": "chunk-decay-apart",
        "power of what is handed on is one less": "chunk-decay-apart",
        "power of what is handed on is one more": "chunk-decay-apart",
        "short last chunk takes the power of a whole one": "chunk-decay-apart padding-not-masked",
        "powers of what is added begin with 1": "decay-own-step",
        "powers of what is handed on begin with 1": "decay-own-step",
        "powers of what is handed on run the other way": "",
        "powers are of |λ|": "",
        "kernel is that of a circular convolution": "",
    },
)
LRU_MISTAKES = rows(
    ALL,
    {
        "λ is conjugated": "line-sign",
        "what is added is conjugated": "",
        "C is conjugated": "line-sign",
        "γ is left out": "line-factor-left-out line-parameter-left-out",
        "γ counts twice": "",
        "gamma_log read as γ": "line-function-left-out",
        "nu_log read as ν": "line-function-left-out",
        "theta_log read as the phase": "line-function-left-out",
        "ν without its minus": "line-constant line-sign",
        "λ without its phase": "",
        "d is left out": "line-term-left-out",
        "twice the real part": "",
        "r and i exchanged": "gate-order",
        "C_re and C_im exchanged": "line-parameters-exchanged",
        "nu_log and gamma_log exchanged": "line-parameters-exchanged",
        "reads the state before the step": "line-state-read-early",
        "reads the state before its decay": "decay-own-step",
        "re and im of the initial state exchanged": "chunk-state-exchanged",
        "re and im of the final state exchanged": "chunk-state-exchanged",
        "final state is interleaved": "chunk-state-exchanged",
    },
)


def lru(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind = how.kind
    r, i, d = (x @ p["weight_ih"].T + p["bias_ih"]).split([6, 6, p["C_re"].shape[0]], -1)
    if kind == "r and i exchanged":
        r, i = i, r
    decay, gamma = _constants(p, kind)
    b = torch.complex(gamma * r, -gamma * i if kind == "what is added is conjugated" else gamma * i)
    re, im = state[0].chunk(2, -1)
    if kind == "re and im of the initial state exchanged":
        re, im = im, re
    start = torch.complex(re, im)
    a = decay.expand_as(b)
    if how.form == "powers":
        states, (last,) = over_chunks((b,), (start,), how, lambda *chunk: _powers(decay, *chunk, how.chunk))
    else:
        states, last = scan(a, b, start, how)
    before = torch.cat([start[:, None], states[:, :-1]], 1)
    if kind == "reads the state before the step":
        states = before
    if kind == "reads the state before its decay":
        states = before + b
    c_re, c_im = p["C_re"], p["C_im"]
    if kind == "C_re and C_im exchanged":
        c_re, c_im = c_im, c_re
    sign = 1 if kind == "C is conjugated" else -1
    out = states.real @ c_re.T + sign * states.imag @ c_im.T
    if kind == "twice the real part":
        out = 2 * out
    if kind != "d is left out":
        out = out + d
    if kind == "re and im of the final state exchanged":
        return out, (torch.cat([last.imag, last.real], -1),)
    if kind == "final state is interleaved":
        return out, (torch.view_as_real(last).flatten(1),)
    return out, (torch.cat([last.real, last.imag], -1),)


def _constants(p: Parameters, wrong: str) -> tuple[Tensor, Tensor]:
    """λ and γ."""
    nu, theta, gamma = p["nu_log"], p["theta_log"], p["gamma_log"]
    if wrong == "nu_log and gamma_log exchanged":
        nu, gamma = gamma, nu
    rate = nu if wrong == "nu_log read as ν" else nu.exp()
    size = (rate if wrong == "ν without its minus" else -rate).exp()
    phase = theta if wrong == "theta_log read as the phase" else theta.exp()
    if wrong == "λ is conjugated":
        phase = -phase
    if wrong == "λ without its phase":
        phase = 0 * phase
    if wrong != "gamma_log read as γ":
        gamma = gamma.exp()
    if wrong == "γ is left out":
        gamma = torch.ones_like(gamma)
    if wrong == "γ counts twice":
        gamma = gamma * gamma
    return torch.polar(size, phase), gamma


def _powers(decay: Tensor, parts: Parts, state: State, wrong: str, chunk: int) -> tuple[Tensor, State]:
    """A chunk by powers of λ, which are the same for all chunks."""
    (b,), (s,), steps = parts, state, parts[0].shape[1]
    at = torch.arange(steps)
    apart = (at[:, None] - at).clamp(min=0)
    if wrong == "kernel is that of a circular convolution":
        apart = (at[:, None] - at) % steps
    if wrong == "powers of what is added begin with 1":
        apart = apart + 1
    base = decay.abs().to(decay.dtype) if wrong == "powers are of |λ|" else decay
    kernel = base ** apart[..., None]
    if wrong != "kernel is that of a circular convolution":
        kernel = kernel * lower(steps)[..., None]
    first = {"powers of the carried state begin with 0": 0, "powers of the carried state begin with 2": 2}.get(wrong, 1)
    read = torch.einsum("tsn,bsn->btn", kernel, b) + decay ** (at + first)[:, None] * s[:, None]
    left = steps - 1 - at
    if wrong == "powers of what is handed on begin with 1":
        left = left + 1
    if wrong == "powers of what is handed on run the other way":
        left = at
    most = steps
    if wrong == "power of what is handed on is one less":
        most = steps - 1
    if wrong == "power of what is handed on is one more":
        most = steps + 1
    if wrong == "short last chunk takes the power of a whole one":
        most = max(chunk, steps)
    return read, (decay**most * s + (decay ** left[:, None] * b).sum(1),)


VARYING = (
    "decays in the order of a turned chunk",
    "chunk's own decays are the first chunk's",
    "each step takes the decay of the step before",
    "each step takes the decay of the step after",
    "each step takes the decay of the item before",
)
"""Mistakes that need decays of several steps or items."""
LRU = Planted(
    lru,
    ALL,
    (
        *without(with_constant_decays((*SCANS, *EVERYWHERE)), *VARYING),
        *WHOLE,
        *with_constant_decays(POWERS),
        *LRU_MISTAKES,
    ),
)
