"""A block of Mamba: the inputs that its convolution keeps are carried beside the state of the scan."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, silu

from tests.planted_forms.edges import Parts, over_chunks
from tests.planted_forms.plans import How, Parameters, Planted, State, rows, without
from tests.planted_forms.s6 import AXES, STEP_SIZES, N, discrete, read, skip
from tests.planted_forms.scans import COMPUTES, EVERYWHERE, FORMS, SCANS, decays_misread
from tests.planted_forms.whole import WHOLE

CHUNKS = ("matrix", "division", "tree")
CONV_EDGES = rows(
    CHUNKS,
    {
        "conv inputs are zeros at edges": "conv-state-lost",
        "conv inputs are zeros at edges once": "conv-state-lost",
        "conv inputs are the initial ones at edges": "conv-state-lost",
        "conv inputs are turned at edges": "conv-state-reversed",
        "conv inputs are turned at edges once": "conv-state-reversed",
        "conv inputs are one step old at edges": "conv-step-apart",
        "conv inputs have the last one twice at edges": "conv-step-apart",
        "S alone is lost at edges": "chunk-state-lost",
        "S alone is lost at edges once": "chunk-state-lost",
        "S alone is one step old at edges": "chunk-step-apart",
        "S alone has the last step twice at edges": "chunk-step-apart",
        "short prompt is filled up behind": "conv-state-misaligned",
    },
)
MAMBA_MISTAKES = rows(
    FORMS,
    {
        **STEP_SIZES,
        "B and C exchanged": "line-parameters-exchanged",
        "v and z exchanged": "gate-order",
        "conv weights are turned": "conv-weights-reversed",
        "w1 and w2 exchanged": "line-parameters-exchanged",
        "conv sees the next step": "",
        "conv bias is left out": "line-parameter-left-out line-term-left-out",
        "silu of the convolution is left out": "line-function-left-out",
        "silu of z is left out": "line-function-left-out",
        "z is not used": "",
        "σ of z in place of silu": "",
        "B is of v": "",
        "Δ is of v": "",
        "D is of v": "",
        "initial conv inputs are ignored": "conv-state-lost",
        "initial S is ignored": "state-ignored",
        "initial conv inputs are turned": "conv-state-reversed",
        "final conv inputs are turned": "conv-state-reversed",
        "final conv inputs are zeros": "conv-state-lost",
        "final conv inputs are one step old": "conv-step-apart",
        "final conv inputs are those after the convolution": "",
    },
)


def mamba(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind, inner = how.kind, p["D"].shape[0]
    v, z = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(2, -1)
    if kind == "v and z exchanged":
        v, z = z, v
    cache = state[0][:, : 3 * inner].unflatten(-1, (3, inner)).flip(1)  # the oldest first
    s = state[0][:, 3 * inner :].unflatten(-1, (inner, N))
    if kind == "initial conv inputs are ignored":
        cache = torch.zeros_like(cache)
    if kind == "initial conv inputs are turned":
        cache = cache.flip(1)
    if kind == "initial S is ignored":
        s = torch.zeros_like(s)
    y, (after, last) = over_chunks((v,), (cache, s), how, lambda *chunk: _chunk(p, how, *chunk))
    gate = z if kind == "silu of z is left out" else silu(z)
    if kind == "z is not used":
        gate = torch.ones_like(z)
    if kind == "σ of z in place of silu":
        gate = z.sigmoid()
    out = (y * gate) @ p["out"].T
    everything = torch.cat([cache, v], 1)
    if kind == "final conv inputs are turned":
        after = after.flip(1)
    if kind == "final conv inputs are zeros":
        after = torch.zeros_like(after)
    if kind == "final conv inputs are one step old":
        after = everything[:, -4:-1]
    if kind == "final conv inputs are those after the convolution":
        after = _convolved(everything, p, "")[:, -3:]
    return out, (torch.cat([after.flip(1).flatten(1), last.flatten(1)], -1),)


def _convolved(inputs: Tensor, p: Parameters, wrong: str) -> Tensor:
    """u of all steps but the first three of `inputs`, which are those before."""
    names = ["w3", "w2", "w1", "w0"]
    if wrong == "conv weights are turned":
        names = names[::-1]
    if wrong == "w1 and w2 exchanged":
        names = ["w3", "w1", "w2", "w0"]
    weight = torch.stack([p[name] for name in names], -1)[:, None]
    if wrong == "conv sees the next step":
        inputs = torch.cat([inputs[:, 1:], torch.zeros_like(inputs[:, :1])], 1)
    bias = None if wrong == "conv bias is left out" else p["conv_bias"]
    u = conv1d(inputs.transpose(1, 2), weight, bias, groups=weight.shape[0]).transpose(1, 2)
    return u if wrong == "silu of the convolution is left out" else silu(u)


def _chunk(p: Parameters, how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (v,), (cache, s) = parts, state
    wrong = how.also_in_single_steps(wrong, MAMBA_MISTAKES)
    inputs = torch.cat([cache, v], 1)
    if not v.shape[1]:
        return v, state
    u = _convolved(inputs, p, wrong)
    low = (v if wrong == "Δ is of v" else u) @ p["dt_down"].T
    names = ("C", "B") if wrong == "B and C exchanged" else ("B", "C")
    b, r = (v if wrong == "B is of v" else u) @ p[names[0]].T, u @ p[names[1]].T
    a, added = discrete(u, low @ p["dt_up"].T, b, p, wrong)
    states, (last,) = COMPUTES[how.form](decays_misread(a, added, wrong), (s,), wrong)
    y = read(states, torch.cat([s[:, None], states[:, :-1]], 1), added, r, wrong)
    y = y + skip(v if wrong == "D is of v" else u, p, wrong)
    return y, (inputs[:, -3:], last)


MAMBA = Planted(
    mamba,
    FORMS,
    (
        *without(SCANS, "chunk's own decays are the first chunk's"),
        *EVERYWHERE,
        *WHOLE,
        *CONV_EDGES,
        *MAMBA_MISTAKES,
        *AXES,
    ),
    largest=1.2,
)
