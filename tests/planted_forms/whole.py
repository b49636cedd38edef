"""What goes wrong around a form of any cell: its output and final states, its initial ones, padding, the order of x."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.planted_forms.plans import How, Parameters, Run, State, rows

WHOLE = rows(
    ("steps", "matrix", "division", "tree"),
    {
        "output is one step late": "shifted-by-one",
        "output is one step early": "shifted-by-one",
        "final state is the initial one": "state-not-carried",
        "final state is zeros": "state-not-carried",
        "final state is one step old": "shifted-by-one",
        "final state has the last step twice": "chunk-step-apart",
        "final states of the items are turned": "batch-mixed",
        "padded steps are counted": "padding-not-masked",
        "padded with the last step": "padding-not-masked chunk-step-apart",
        "padded in front": "padding-not-masked",
        "steps and items by reshape": "batch-mixed time-batch-exchanged",
        "reads from the other end": "directions-exchanged",
        "initial state is ignored": "state-ignored",
        "initial state is the first item's": "batch-mixed",
        "initial state counts twice": "chunk-state-doubled",
        "initial state is where the last call ended": "state-left-over",
        "bias is left out": "bias-dropped",
        "bias counts twice": "bias-doubled",
        "kernel is reshaped": "kernel-reshaped",
    },
)
KERNEL = rows(("steps", "matrix", "division", "tree"), {"kernel is transposed": "kernel-transposed"})
"""Where all blocks of weight_ih have hidden_size rows."""


def run_whole(run: Run, x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    """The form, with a mistake around it where that is the one."""
    kind = how.kind
    x, state, p = _given(run, x, state, p, how)
    steps = x.shape[1]
    if kind in _PADDED:
        return _in_padding(run, x, state, p, how)
    out, final = run(x, state, p, how)
    if kind == "output is one step late":
        out = torch.cat([torch.zeros_like(out[:, :1]), out[:, :-1]], 1)
    if kind == "output is one step early":
        out = torch.cat([out[:, 1:], out[:, -1:]], 1)
    if kind == "final state is the initial one":
        final = state
    if kind == "final state is zeros":
        final = tuple(map(torch.zeros_like, final))
    if kind == "final state is one step old":
        final = run(x[:, :-1], state, p, how)[1] if steps > 1 else state
    if kind == "final state has the last step twice":
        final = run(x[:, -1:], final, p, how)[1]
    if kind == "final states of the items are turned":
        final = tuple(one.flip(0) for one in final)
    return (out.flip(1) if kind == "reads from the other end" else out), final


_PADDED = ("padded steps are counted", "padded with the last step", "padded in front")


def _given(run: Run, x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State, Parameters]:
    """What the form is called with."""
    kind, p = how.kind, dict(p)
    if kind == "steps and items by reshape":
        x = x.reshape(x.shape[1], x.shape[0], x.shape[2]).transpose(0, 1)
    if kind == "reads from the other end":
        x = x.flip(1)
    if kind == "initial state is ignored":
        state = tuple(map(torch.zeros_like, state))
    if kind == "initial state is the first item's":
        state = tuple(one[:1].expand_as(one) for one in state)
    if kind == "initial state counts twice":
        state = tuple(2 * one for one in state)
    if kind == "initial state is where the last call ended":
        state = run(x, state, p, how)[1]
    if kind == "bias is left out":
        p["bias_ih"] = torch.zeros_like(p["bias_ih"])
    if kind == "bias counts twice":
        p["bias_ih"] = 2 * p["bias_ih"]
    weight = p["weight_ih"]
    if kind == "kernel is reshaped":
        p["weight_ih"] = weight.reshape(weight.T.shape).T
    if kind == "kernel is transposed":
        size = weight.shape[1]
        p["weight_ih"] = torch.cat([block.T for block in weight.split(size)])
    return x, state, p


def _in_padding(run: Run, x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    """The steps filled up to whole chunks, and the state after, or the output from, the padding."""
    steps = x.shape[1]
    short = -steps % how.chunk
    filling = x.new_zeros(x.shape[0], short, x.shape[2])
    if how.kind == "padded in front":
        out, final = run(torch.cat([filling, x], 1), state, p, how)
        return out[:, short:], final
    if how.kind == "padded with the last step":
        filling = x[:, -1:].expand_as(filling)
    out, final = run(torch.cat([x, filling], 1), state, p, how)
    return out[:, :steps], final
