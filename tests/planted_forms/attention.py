"""What chunks of heads with matrices share: decays between the steps of a chunk, (batch, head, t, s), of the state
before it, and of what it hands on; from logarithms of decays, (batch, step, head)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from tests.planted_forms.edges import EDGES, lower
from tests.planted_forms.plans import Mistake, rows
from tests.planted_forms.whole import WHOLE

MASKED_DECAYS = {
    "carried state decays up to the step before, where read": "chunk-decay-apart",
    "carried state decays up to the step before, where handed on": "chunk-decay-apart",
    "carried state decays once more, where read": "chunk-decay-apart",
    "carried state decays once more, where handed on": "chunk-decay-apart",
    "carried state decays once more, where handed on once": "chunk-decay-apart",
    "carried state does not decay, where read": "chunk-decay-apart",
    "carried state does not decay, where handed on": "chunk-decay-apart",
    "decay includes the step's own": "decay-own-step",
    "decay includes the step's own, where handed on": "decay-own-step",
    "decay leaves out the reading step's": "decay-own-step chunk-decay-apart",
    "added is not decayed, where read": "decay-left-out",
    "added is not decayed, where handed on": "decay-left-out",
    "added is not decayed, in both": "decay-left-out",
    "mask without the diagonal": "line-state-read-early",
    "mask is left out": "",
    "logarithms summed over heads": "decay-wrong-axis",
    "logarithms summed over items": "decay-wrong-axis",
    "logarithms of the step before": "decay-shifted",
}
STATES = {
    "axes of the state exchanged at edges": "chunk-state-exchanged",
    "heads exchanged at edges": "chunk-state-exchanged",
    "heads exchanged at edges once": "chunk-state-exchanged",
}


def also(mistakes: tuple[Mistake, ...], *forms: str) -> tuple[Mistake, ...]:
    """The same, made in these forms."""
    return tuple(dataclasses.replace(one, forms=forms) for one in mistakes)


def around(chunked: tuple[str, ...]) -> tuple[Mistake, ...]:
    """The mistakes at the edges of chunks and around the whole, of a cell with these forms beside single steps."""
    return (*also(EDGES, *chunked), *also(WHOLE, "steps", *chunked), *rows(chunked, STATES))


def summed(logs: Tensor, wrong: str) -> tuple[Tensor, Tensor]:
    """Sums of logarithms up to each step of the chunk, and the logarithms themselves."""
    if wrong == "logarithms of the step before":
        logs = torch.cat([torch.zeros_like(logs[:, :1]), logs[:, :-1]], 1)
    return logs.cumsum({"logarithms summed over heads": 2, "logarithms summed over items": 0}.get(wrong, 1)), logs


def between(sums: Tensor, logs: Tensor, wrong: str) -> Tensor:
    """Logarithms of the decays between step s and step t, minus infinity where t does not see s."""
    reads = sums - logs if wrong == "decay leaves out the reading step's" else sums
    adds = sums - logs if wrong == "decay includes the step's own" else sums
    apart = reads.transpose(1, 2)[..., :, None] - adds.transpose(1, 2)[..., None, :]
    steps = sums.shape[1]
    if wrong == "decay leaves out the reading step's":
        apart = apart.masked_fill(torch.eye(steps, dtype=torch.bool), 0.0)
    if wrong in ("added is not decayed, where read", "added is not decayed, in both"):
        apart = torch.zeros_like(apart)
    if wrong == "mask is left out":
        return apart
    return apart.masked_fill(~lower(steps, -1 if wrong == "mask without the diagonal" else 0), -torch.inf)


def carried(sums: Tensor, logs: Tensor, wrong: str, where: str) -> Tensor:
    """Logarithms of the decays of the state before the chunk up to each step, (batch, step, head)."""
    what, _, place = wrong.partition(", ")
    if place != where:
        return sums
    if what == "carried state decays up to the step before":
        return sums - logs
    if what == "carried state decays once more":
        return sums + logs[:, :1]
    return torch.zeros_like(sums) if what == "carried state does not decay" else sums


def left(sums: Tensor, logs: Tensor, wrong: str) -> Tensor:
    """Logarithms of the decays from each step up to the end of the chunk, (batch, step, head)."""
    if wrong in ("added is not decayed, where handed on", "added is not decayed, in both"):
        return torch.zeros_like(sums)
    found = sums[:, -1:] - sums
    return found + logs if wrong == "decay includes the step's own, where handed on" else found


def heads_of(v: Tensor, heads: int) -> Tensor:
    """(batch, step, head, size)"""
    return v.unflatten(-1, (heads, v.shape[-1] // heads))
