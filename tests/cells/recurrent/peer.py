"""What the tests know of one of torchrecurrent's layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rnnspect
from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell

Step = Callable[..., Any]
"""A loop's step, as `rnnspect.check(…, engine=step)` takes it."""
Weights = dict[str, Tensor]
"""Parameters by name: of their cell, or of ours without _l0."""


def as_they_are(theirs: Weights) -> Weights:
    return theirs


@dataclass(frozen=True)
class Peer:
    """Our cell of one of their layers."""

    cell: Cell | str
    """A cell of one's own, or the name of one of ours, which the keys in `spec` choose the variant of."""
    loop: Callable[[bool], Step]
    """An independent loop: right, or with one mistake."""
    weights: Callable[[Weights], Weights] = as_they_are
    """From the parameters of their cell to ours."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What their layer is made with, beside its sizes."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    """How large weights are drawn, of their usual size: of larger ones the bound of a cell state that comes back
    through a matrix, and that nobody observes, grows with each step."""
    differs: str = ""
    """Where their code is not what the paper says."""

    def spec_of(self, **more: Any) -> rnnspect.Spec:
        return rnnspect.Spec(**{"cell": self.cell, **self.spec, **more})


def placed(theirs: Tensor, count: int, places: Sequence[int | None]) -> Tensor:
    """Their `count` blocks of rows in the order of ours; None is a block of ours that they have not, zeros."""
    blocks = theirs.chunk(count)
    return torch.cat([torch.zeros_like(blocks[0]) if at is None else blocks[at] for at in places])


def example(name: str) -> Cell:
    """The cell of that name in examples/cells/."""
    return load_cell(f"{Path(__file__).parents[3] / 'examples' / 'cells' / name}.py:{name}")


def indrnn_weights(theirs: Weights) -> Weights:
    own = {"weight_ih": theirs["weight_ih"], "bias_ih": theirs["bias_ih"] + theirs["bias_hh"]}
    return own | {"u": theirs["vector_u"]}
