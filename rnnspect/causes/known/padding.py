"""Padding that is processed before the first step of a shorter item, whose output is then masked or cut off: the item
begins with the state after it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.estimate import estimate


def causes(assumed: Assumption) -> Iterator[Cause]:
    lengths, steps = assumed.run.lengths, assumed.run.x.shape[0]
    if lengths is None or bool((lengths == steps).all()):
        return
    if assumed.run.reverse and not (assumed.seen and _shows_padding(assumed.run)):
        yield Cause(
            "reverse-from-padding",
            "the reverse direction starts in the padding, at the last step of the batch; its output there is masked",
            "Pass the lengths (pack_padded_sequence, sequence_lens, a mask), or reverse each sequence separately: to "
            "mask the output is not enough.",
            functools.partial(_begun_in_padding, in_front=False),
            {"output": "masked"},
        )
    if not assumed.run.reverse:
        yield Cause(
            "padding-not-masked",
            "zeros stand in front of each shorter sequence as its padding, and move the state with which it begins",
            "Pad behind the last step and pass the lengths, or mask the steps in front, so that they keep the state.",
            functools.partial(_begun_in_padding, in_front=True),
            {"where": "in front"},
        )


def _shows_padding(run: LayerRun) -> bool:
    """Whether h has numbers beyond the end of shorter items; `directions.py` looks at these."""
    return bool(run.h[~run.inside].nan_to_num().any())


def _begun_in_padding(assumed: Assumption, in_front: bool) -> Assumption:
    """Each item begins with the state after so many steps more as it is shorter than the batch: of zeros for x, or in
    reverse of the x behind its end."""
    run = assumed.run
    assert run.lengths is not None
    total, u = run.x.shape[0], replace(assumed.u, relative=0.0, absolute=0.0)
    more = total - run.lengths
    places = torch.arange(int(more.max())).unsqueeze(1)
    padding = run.take((total - 1 - places).expand(-1, len(more)))
    if in_front:
        padding = replace(padding, x=torch.zeros_like(padding.x[:]), error=None)
    padding = replace(padding, lengths=more.clamp(min=1), reverse=False)
    ended = estimate(replace(assumed, run=padding, u=u, seen=False)).final
    has_any = (more > 0).unsqueeze(1)
    return assumed.begun_with([_where(has_any, *of, state) for of, state in zip(ended, run.state, strict=True)])


def _where(has_any: Tensor, value: Tensor, error: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(has_any, value, state.to(value.dtype)), error * has_any
