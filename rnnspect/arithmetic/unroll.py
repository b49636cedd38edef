"""The equations from x, h0 and c0 onwards: the loop over layers, directions and time, one step at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.hidden_calls import hidden_calls
from rnnspect.arithmetic.numbers import Numbers, SmallNumbers, one_thread, serves
from rnnspect.cells.interface import Cell
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

CHUNK = 256
"""The quantities of so many steps are kept as small tensors before they are packed into one."""


@dataclass(frozen=True)
class LayerQuantities:
    """Every quantity of one layer and direction, (T, B, ·) by step of the input; NaN beyond an item's length.

    `final` is the state after the last step: (B, P) and, for a cell that has it, (B, H).
    """

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    final: tuple[Tensor, ...]


def unroll(
    spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, progress: StepsDone = untold
) -> Iterator[LayerQuantities]:
    """Runs the equations in the parameters' dtype, each layer on the h of the one below: one `LayerQuantities` for each
    layer and direction. `progress` is told the number of steps done since it was told last."""
    cell = spec.cell_type
    x = sequence.x
    valid = sequence.valid()
    valid = None if valid is None else valid.to(x.device)
    for layer in range(spec.num_layers):
        outputs = []
        for direction in spec.directions:
            row = spec.row(layer, direction)
            state = tuple(initial[row] for initial in sequence.state)
            own = LayerParameters.of(parameters, layer, direction, spec)
            chosen = SmallNumbers if serves(own, sequence.batch) else Numbers
            arithmetic = chosen(own, len(cell.gates), spec.nonlinearity_of(direction))
            wx = torch.nn.functional.linear(x, own.weight_ih, own.bias_ih)
            order = _reversed_order(sequence) if direction == "reverse" else None
            with one_thread() if chosen is SmallNumbers else nullcontext():
                kept, final = run_layer(cell, arithmetic, reordered(wx, order), state, valid, progress)
            quantities = {"x": x, "input_projection": wx}
            quantities |= {name: reordered(values, order) for name, values in kept.items()}
            quantities = {name: sequence.within(values, torch.nan) for name, values in quantities.items()}
            yield LayerQuantities(layer, direction, quantities, final)
            outputs.append(quantities["h"])
        x = output_of(outputs, sequence)


def output_of(directions: list[Tensor], sequence: Sequence) -> Tensor:
    """The output (T, B, D·P) of a layer from its h in each direction; zero beyond an item's length."""
    return sequence.within(directions[0] if len(directions) == 1 else torch.cat(directions, -1))


def ended_of(spec: Spec, layers: Iterable[LayerQuantities]) -> dict[str, Tensor]:
    """h_n and c_n, (L·D, B, ·), from every layer and direction."""
    rows = sorted(layers, key=lambda one: spec.row(one.layer, one.direction))
    finals = zip(*(one.final for one in rows), strict=True)
    return {f"{name}_n": torch.stack(each) for name, each in zip(spec.cell_type.states, finals, strict=True)}


def head_of(parameters: Mapping[str, Tensor], h_n: Tensor, directions: int) -> Tensor:
    """The head on the last layer's final hidden state, both directions side by side: (B, out_features)."""
    last = torch.cat(list(h_n[-directions:]), -1)
    return torch.nn.functional.linear(last, parameters["head.weight"], parameters["head.bias"])


def _reversed_order(sequence: Sequence) -> Tensor:
    """(T, B): the step of the input that the reverse direction processes k-th, for each item."""
    device = sequence.x.device
    return processing_order(
        torch.arange(sequence.steps, device=device)[:, None], sequence.step_counts(device), reverse=True
    )


def processing_order(places: Tensor, ends: Tensor, reverse: bool) -> Tensor:
    """(n, B): the step of the input that each item is at, at these places (n, 1) of the order in which its steps are
    processed. `ends` (B,) is how many steps each item has.

    In reverse an item begins at its own last step; its padding comes after, in the order of the input.
    """
    if not reverse:
        return places.expand(-1, len(ends))
    return torch.where(places < ends, ends - 1 - places, places)


def reordered(values: Tensor, order: Tensor | None) -> Tensor:
    """Values (T, B, …) from the order of the input to that of processing, and back: the order (T, B) is its own
    inverse."""
    if order is None:
        return values
    return values.gather(0, order.view(*order.shape, *[1] * (values.dim() - 2)).expand_as(values))


@torch.inference_mode()
@np.errstate(all="ignore")  # infinity and NaN are data here, as they are for torch
def run_layer(
    cell: Cell,
    arithmetic: Numbers | SmallNumbers,
    wx: Tensor,
    state: tuple[Tensor, ...],
    valid: Tensor | None,
    progress: StepsDone,
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """The only loop over time: every quantity (T, B, ·) by name, and the state after each item's last step."""
    a: Any = arithmetic
    calls = hidden_calls(cell)
    names = (*(["hidden_projection"] if cell.is_recurrent else []), *cell.quantities)
    now = tuple(a.taken(initial) for initial in state)
    kept: dict[str, Tensor] = {}
    for start in range(0, len(wx), CHUNK):
        rows: list[dict[str, Any]] = []
        a.products = []
        inside = None if valid is None else a.taken(valid[start : start + CHUNK, :, None])
        for at, wx_t in enumerate(a.taken(wx[start : start + CHUNK])):
            row = cell.step(a, wx_t, *now)
            new = tuple([row[name] for name in cell.states])
            # Beyond its length an item keeps its last state, so that the final state is that of its last step.
            now = new if inside is None else tuple(map(a.where, [inside[at]] * len(new), new, now))
            rows.append(row)
        if cell.is_recurrent:
            _add_hidden_projection(a, calls, rows)
        for name in names:
            if name not in kept:
                with torch.inference_mode(False):
                    shape = (*wx.shape[:2], rows[0][name].shape[-1])
                    kept[name] = torch.empty(shape, dtype=wx.dtype, device=wx.device)
            a.keep([row[name] for row in rows], kept[name][start : start + len(rows)])
        progress(len(rows))
    with torch.inference_mode(False):
        return kept, tuple(a.given(final) for final in now)


def _add_hidden_projection(a: Any, calls: tuple[int, ...], rows: list[dict[str, Any]]) -> None:
    """W_hh h + b_hh as these steps computed it, packed: of each gate the block of the product that it is made of."""
    each = max(calls) + 1
    for at, row in enumerate(rows):
        products = a.products[at * each : (at + 1) * each]
        if each > 1:
            blocks = [a.split(product) for product in products]
            products = [a.joined([blocks[call][gate] for gate, call in enumerate(calls)])]
        row["hidden_projection"] = products[0]
