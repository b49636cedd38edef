"""States of which each number has a decay of its own, S_t = a_t S_(t-1) + b_t: chunks by a matrix of decays, by a
division, by a scan that doubles its reach, or step by step. The numbers may be complex."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.planted_forms.edges import EDGES, Parts, levels, lower, over_chunks
from tests.planted_forms.plans import CHUNKED, How, State, rows

FORMS = ("steps", *CHUNKED)
MATRIX = ("matrix",)

SCANS = (
    *EDGES,
    *rows(
        MATRIX,
        {
            "carried state decays up to the step before, where read": "chunk-decay-apart",
            "carried state decays up to the step before, where handed on": "chunk-decay-apart",
            "carried state decays up to the step before, in both": "chunk-decay-apart",
            "carried state decays once more, where read": "chunk-decay-apart",
            "carried state decays once more, where handed on": "chunk-decay-apart",
            "carried state decays once more, where handed on once": "chunk-decay-apart",
            "carried state does not decay, where read": "chunk-decay-apart",
            "carried state does not decay, where handed on": "chunk-decay-apart",
            "decay includes the step's own": "decay-own-step",
            "decay includes the step's own, where handed on": "decay-own-step",
            "decay leaves out the reading step's": "decay-own-step chunk-decay-apart",
            "what is handed on lacks the last decay": "chunk-decay-apart decay-own-step",
            "added is not decayed, where read": "decay-left-out",
            "added is not decayed, where handed on": "decay-left-out",
            "added is not decayed, in both": "decay-left-out",
            "mask without the diagonal": "line-state-read-early",
            "mask without the diagonal, also handed on": "line-state-read-early chunk-step-apart",
            "no mask": "",
            "mask above the diagonal": "",
            "logarithms summed over units": "decay-wrong-axis",
            "logarithms summed over items": "decay-wrong-axis",
            "decays in the order of a turned chunk": "",
            "chunk's own decays are the first chunk's": "",
        },
    ),
    *rows(
        ("division",),
        {
            "decays of the step before in each chunk": "decay-shifted",
            "sums of the step before": "line-state-read-early",
            "division by the decays up to the step before": "decay-own-step",
            "carried state is not decayed": "chunk-decay-apart",
            "carried state joins the sum divided": "chunk-decay-apart",
            "decays cumulated over units": "decay-wrong-axis",
        },
    ),
    *rows(
        ("tree",),
        {
            "initial state joins without its decay": "chunk-decay-apart",
            "state joins at the second step": "",
            "one level is missing": "",
            "both sides of the operator exchanged": "scan-order",
            "operator decays by the earlier side": "",
            "operator drops the product of decays": "",
        },
    ),
)
EVERYWHERE = rows(
    FORMS,
    {
        "each step takes the decay of the step before": "decay-shifted",
        "each step takes the decay of the step after": "decay-shifted",
        "each step takes the decay of the item before": "",
        "decay is squared": "",
        "nothing decays": "decay-left-out",
        "what is added is decayed by its own step": "decay-own-step",
    },
)


def scan(a: Tensor, b: Tensor, start: Tensor, how: How) -> tuple[Tensor, Tensor]:
    """The state after each step, (batch, step, ...), and the last one."""
    a, b = decays_misread(a, b, how.kind)
    if how.kind == "chunk's own decays are the first chunk's":
        first = a[:, : how.chunk]
        a = first.repeat(1, a.shape[1] // how.chunk + 1, *[1] * (a.ndim - 2))[:, : a.shape[1]]
    read, (last,) = over_chunks((a, b), (start,), how, COMPUTES[how.form])
    return read, last


def decays_misread(a: Tensor, b: Tensor, wrong: str) -> tuple[Tensor, Tensor]:
    """Decays and what steps add, with a mistake of `EVERYWHERE`."""
    if wrong == "each step takes the decay of the step before":
        a = torch.cat([torch.ones_like(a[:, :1]), a[:, :-1]], 1)
    if wrong == "each step takes the decay of the step after":
        a = torch.cat([a[:, 1:], torch.ones_like(a[:, :1])], 1)
    if wrong == "each step takes the decay of the item before":
        a = a.roll(1, 0)
    if wrong == "decay is squared":
        a = a * a
    if wrong == "nothing decays":
        a = torch.ones_like(a)
    if wrong == "what is added is decayed by its own step":
        b = a * b
    return a, b


def _steps(parts: Parts, state: State, _wrong: str) -> tuple[Tensor, State]:
    (a, b), (s,), read = parts, state, []
    for step in range(a.shape[1]):
        s = a[:, step] * s + b[:, step]
        read.append(s)
    return torch.stack(read, 1), (s,)


def _matrix(parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    """Decays between all pairs of steps, exp of the differences of sums of logarithms."""
    (a, b), (s,), steps = parts, state, parts[0].shape[1]
    logs = a.log()
    summed = logs.cumsum({"logarithms summed over units": 2, "logarithms summed over items": 0}.get(wrong, 1))
    if wrong == "decays in the order of a turned chunk":
        summed = logs.flip(1).cumsum(1)
    reads, adds = summed, summed
    if wrong == "decay leaves out the reading step's":
        reads = summed - logs
    if wrong == "decay includes the step's own":
        adds = summed - logs
    between = reads[:, :, None] - adds[:, None]
    mask = {"mask without the diagonal": lower(steps, -1), "no mask": lower(steps, steps),
            "mask above the diagonal": lower(steps).T}.get(wrong.partition(",")[0], lower(steps))  # fmt: skip
    decays = torch.ones_like(between) if wrong in _UNDECAYED_READ else between.exp()
    if wrong == "decay leaves out the reading step's":
        decays = torch.where(torch.eye(steps, dtype=torch.bool).view(1, steps, steps, *[1] * (a.ndim - 2)),
                             torch.ones_like(decays), decays)  # fmt: skip
    decays = torch.where(mask.view(1, steps, steps, *[1] * (a.ndim - 2)), decays, torch.zeros_like(decays))
    read = (decays * b[:, None]).sum(2) + _carried(summed, logs, wrong, "where read").exp() * s[:, None]
    last = summed[:, -1:]
    left = last - summed
    if wrong == "decay includes the step's own, where handed on":
        left = left + logs
    if wrong == "what is handed on lacks the last decay":
        left = left - logs[:, -1:]
    weights = torch.ones_like(left) if wrong in _UNDECAYED_LEFT else left.exp()
    if wrong == "what is handed on lacks the last decay":
        weights = torch.cat([weights[:, :-1], torch.ones_like(weights[:, :1])], 1)
    if wrong == "mask without the diagonal, also handed on":
        weights = torch.cat([weights[:, :-1], torch.zeros_like(weights[:, :1])], 1)
    after = (weights * b).sum(1) + _carried(summed, logs, wrong, "where handed on")[:, -1].exp() * s
    return read, (after,)


_UNDECAYED_READ = ("added is not decayed, where read", "added is not decayed, in both")
_UNDECAYED_LEFT = ("added is not decayed, where handed on", "added is not decayed, in both")


def _carried(summed: Tensor, logs: Tensor, wrong: str, where: str) -> Tensor:
    """Logarithms of the decays of the state before the chunk, up to each step."""
    what, _, place = wrong.partition(", ")
    if place not in (where, "in both"):
        return summed
    if what == "carried state decays up to the step before":
        return summed - logs
    if what == "carried state decays once more":
        return summed + logs[:, :1]
    return torch.zeros_like(summed) if what == "carried state does not decay" else summed


def _division(parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    """Decays cumulated from the chunk's first step on, and what is added divided by them."""
    (a, b), (s,) = parts, state
    if wrong == "decays of the step before in each chunk":
        a = torch.cat([torch.ones_like(a[:, :1]), a[:, :-1]], 1)
    cumulated = a.cumprod(2 if wrong == "decays cumulated over units" else 1)
    by = cumulated / a if wrong == "division by the decays up to the step before" else cumulated
    sums = (b / by).cumsum(1)
    if wrong == "sums of the step before":
        sums = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1)
    read = cumulated * (sums + s[:, None])
    if wrong == "carried state is not decayed":
        read = cumulated * sums + s[:, None]
    if wrong == "carried state joins the sum divided":
        read = cumulated * (sums + s[:, None] / a[:, :1])
    return read, (read[:, -1],)


def _tree(parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    """Each step joins with the one 1, 2, 4 … before it."""
    (a, b), (s,) = parts, state
    at = min(int(wrong == "state joins at the second step"), b.shape[1] - 1)
    joins = s if wrong == "initial state joins without its decay" else a[:, at] * s
    b = torch.cat([b[:, :at], (b[:, at] + joins)[:, None], b[:, at + 1 :]], 1)
    reaches = list(levels(b.shape[1]))
    for reach in reaches[: len(reaches) - (wrong == "one level is missing")]:
        earlier_a, later_a = a[:, :-reach], a[:, reach:]
        earlier_b, later_b = b[:, :-reach], b[:, reach:]
        joined = later_a * earlier_b + later_b
        if wrong == "both sides of the operator exchanged":
            joined = earlier_a * later_b + earlier_b
        if wrong == "operator decays by the earlier side":
            joined = earlier_a * earlier_b + later_b
        b = torch.cat([b[:, :reach], joined], 1)
        product = later_a if wrong == "operator drops the product of decays" else earlier_a * later_a
        a = torch.cat([a[:, :reach], product], 1)
    return b, (b[:, -1],)


COMPUTES = {"steps": _steps, "matrix": _matrix, "division": _division, "tree": _tree}
