"""Networks of torch.nn, what they give, and what a verdict says of identities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnspect

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Identity, Verdict

LENGTHS = (7, 3, 5)
STEPS, BATCH = 7, 3


def failed(verdict: Verdict) -> dict[str, Identity]:
    return {one.name: one for one in verdict.identities if not one.holds}


def held(verdict: Verdict) -> list[str]:
    return [one.name for one in verdict.identities if one.holds]


def drawn(kind: str, **options: Any) -> nn.RNNBase:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: nn.RNNBase = getattr(nn, kind)(4, 5, batch_first=True, **options)
    return module


def run_of(module: nn.RNNBase, padded: bool = False) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """x, output, and the final states by name, from torch.nn itself."""
    x = torch.randn(BATCH, STEPS, 4, generator=torch.Generator().manual_seed(1))
    x = x.to(module.weight_ih_l0.dtype)
    with torch.no_grad():
        if padded:
            packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
            output, final = module(packed)
            output, _ = pad_packed_sequence(output, batch_first=True, total_length=STEPS)
        else:
            output, final = module(x)
    states = final if isinstance(final, tuple) else (final,)
    return x, output, dict(zip(("h_n", "c_n"), states, strict=False))


def checked(module: nn.RNNBase, x: Tensor, recorded: Any, padded: bool = False) -> Verdict:
    return rnnspect.check(module, x, recorded=recorded, lengths=LENGTHS if padded else None)
