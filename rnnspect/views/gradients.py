"""Gradients as tables: for each layer and direction a block of rows for each step, from the last one to the first; then
each parameter's as the sum of what its steps add."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from rnnspect.network.losses import SAID
from rnnspect.network.tensors import differences, max_abs_difference
from rnnspect.tracing.gradient_reach_found import Reach
from rnnspect.tracing.gradients import Gradients, LayerGradient
from rnnspect.views import gradient_summary, kinks, reach, text
from rnnspect.views.answers import EQUATIONS_ONLY, apart_by, headed, item_line, roundings
from rnnspect.views.documents import engine_document, numbers, pair_document, spec_document
from rnnspect.views.rendering import command_line, engine_line, table
from rnnspect.views.selection import CHOOSES_ITEM, Selection, shown_quantities, shown_steps, with_gaps
from rnnspect.views.summary import is_long
from rnnspect.views.vectors import VectorBlock, VectorRow, gap, hidden, legend, vector_tables

_THEN_IN_PYTHON = ".layers and .parameters hold the numbers · .to_numpy()"
_THEN = "add --steps {step} for numbers, or -o grads.npz to keep all of them"
_THEN_LAST = "add --loss last (how far one step reaches), --steps {step} (numbers), -o g.npz (all)"
"""Where L has a part at many steps, whose gradients add up."""


def numbers_or_summary(
    found: Sequence[Gradients], selection: Selection, width: int, typed: str | None = None
) -> Iterable[RenderableType]:
    """What `rnnspect trace --backward` shows: a summary of what is large, else every number; and how to go on, with
    the network as it was typed, or in Python."""
    one, hint = found[0], "" if typed is None else CHOOSES_ITEM
    lead = list(_lead(found, selection, width, hint))
    if not is_long(selection, one.spec, one.steps):
        return [*lead, *_numbers(found, selection, width), *_derives_one(one, typed)]
    line = _THEN if one.loss == SAID["last"] or one.steps == 1 else _THEN_LAST
    then = _THEN_IN_PYTHON if typed is None else line.format(step=min(7, one.steps - 1))
    return [*lead, *gradient_summary.parts(one, selection, width, lead), Text(then)]


def _derives_one(one: Gradients, typed: str | None) -> Iterator[Text]:
    """What to type next; nothing for a cell that has no matrices."""
    weights = [name for name in one.parameters if name.startswith("weight_")]
    if not weights:
        return
    entry = f"{min(weights, key=lambda name: not name.startswith('weight_hh'))}[0,0]"
    if typed is None:
        said = f'rnnspect.derive(…, gradient="{entry}")'
    else:
        said = f"{command_line('derive', typed)} --gradient '{entry}'"
    yield Text(f"{said} shows its arithmetic", "dim")


def _lead(found: Sequence[Gradients], selection: Selection, width: int, hint: str) -> Iterator[Text]:
    one = found[0]
    yield from headed(one, [_answer(each) for each in found], width)
    yield Text("; ".join(engine_line(each.engine) for each in found), "dim")
    yield from (Text(note) for each in found for note in each.notes)
    yield Text(f"L = {one.loss} = {text.number(one.loss_value, 4)}")
    if one.batch > 1:
        yield item_line(one, selection.batch_index, hint)


def _answer(one: Gradients) -> Text:
    """How far an engine's gradients are from those of the equations."""
    if not one.is_compared:
        return Text(EQUATIONS_ONLY)
    has_nan = any(pair.engine is not None and bool(pair.engine.isnan().any()) for pair in one.pairs.values())
    quiet = _quiet(one, *(pair.manual for pair in one.pairs.values()))
    return apart_by(one.engine.name, one.max_abs_difference, quiet, has_nan, "check --backward")


def _quiet(one: Gradients, *gradients: Tensor) -> float:
    """The difference up to which an engine's gradients, as large as these, are shown as only rounded differently."""
    return roundings(one.upstream.dtype, one.steps * one.batch + sum(one.spec.gate_sizes), *gradients)


def _numbers(found: Sequence[Gradients], selection: Selection, width: int) -> Iterator[RenderableType]:
    one, layers = found[0], list(_layers(found, selection, width))
    compared = f"difference = {one.engine.name if len(found) == 1 else 'engine'} − equations"
    gate = one.spec.cell_type.gates[0]
    pre = f"{f's_{gate}' if len(one.spec.cell_type.gates) > 1 else 's'} is what goes into the function of {gate}"
    yield from legend(compared if one.is_compared else "", layers)
    yield Text("; ".join([pre, *kinks.of_network(one.spec)]), "dim")
    yield from layers
    yield _sums(found, width)


def _layers(found: Sequence[Gradients], selection: Selection, width: int) -> Iterator[RenderableType]:
    one, item = found[0], selection.batch_index
    for layer in one.layers:
        if selection.shows(one.spec, layer.layer, layer.direction):
            blocks = list(_blocks(found, layer, selection))
            widest = max((len(row.values) for block in blocks for row in block.rows), default=1)
            units = selection.chosen_units(widest)
            order = "from the last step to the first" if layer.direction == "forward" else "from the first step on"
            title = f"\nlayer {layer.layer}, {layer.direction}: {order}"
            yield from vector_tables(title, ("step", "gradient"), blocks, units, selection.decimals, width)
            yield from _how_far(layer, one, item, width)


def _how_far(layer: LayerGradient, one: Gradients, item: int, width: int) -> Iterator[Text]:
    """The sentence, the curve and what decides them."""
    length = one.length(item)
    yield Text(reach.sentence(layer, item, length))
    if length > 1:
        curve = text.log_curve(layer.reach.norms["h"][item, :length].tolist(), max(8, width - 34))
        yield Text.assemble("norm of dL/dh over t (log scale): ", (curve, "cyan"))
    yield from (Text(line, "dim") for line in reach.reasons(layer.reach))


def _blocks(found: Sequence[Gradients], layer: LayerGradient, selection: Selection) -> Iterator[VectorBlock]:
    """The chosen steps in the order in which the gradient passes them, and the state that it ends at."""
    one, item = found[0], selection.batch_index
    length = one.length(item)
    steps = list(with_gaps(shown_steps(selection, one.steps), length))
    padding = [gap(f"from step {length}: padding")] if length < one.steps else []
    if layer.direction == "forward":
        yield from padding
    for step in steps[::-1] if layer.direction == "forward" else steps:
        if isinstance(step, range):
            yield hidden(step)
            continue
        rows = [VectorRow(label, values[item, step].tolist()) for label, values in _rows(one, layer, selection)]
        if layer.layer == 0 and "x" in shown_quantities(selection, one.spec):
            rows += _theirs(found, "x", "dL/dx", (item, step))
        yield VectorBlock(str(step), rows)
    if layer.direction == "reverse":
        yield from padding
    row, last = one.spec.row(layer.layer, layer.direction), []
    for state in one.spec.cell_type.states:
        if state in shown_quantities(selection, one.spec) and selection.steps is None:
            name = f"{state}0"
            last.append(VectorRow(f"dL/d{name}", one.pairs[name].manual[row, item].tolist()))
            last += _theirs(found, name, f"dL/d{name}", (row, item))
    if last:
        yield VectorBlock("start", last)


def _rows(one: Gradients, layer: LayerGradient, selection: Selection) -> Iterator[tuple[str, Tensor]]:
    """The gradients of a step, from h to x, with the labels of their rows."""
    q, cell, asked = layer.quantities, one.spec.cell_type, shown_quantities(selection, one.spec)
    output = "  from the output" if layer.layer == one.spec.num_layers - 1 else "  from the layer above"
    later = "  from the next step" if layer.direction == "forward" else "  from the step before"
    if "h" in asked:
        yield from (("dL/dh", q["h"]), (output, q["h_output"]), (later, q["h_next"]))
    if "c" in asked and "c" in q:
        yield from (("dL/dc", q["c"]), (later, q["c_next"]))
    gates = [name for name in cell.quantities if name not in cell.states]
    yield from ((f"dL/d{name}", q[name]) for name in gates if name in asked)
    alone = len(cell.gates) == 1
    for name, values in layer.pre_activations.items():
        if name in asked or "input_projection" in asked:
            yield "dL/ds" if alone else f"dL/ds_{name}", values
    if "x" in asked:
        yield "dL/dx", one.whole_x(layer.layer)
        if one.spec.bidirectional:
            yield "  of this direction", q["x"]


def _theirs(found: Sequence[Gradients], name: str, label: str, at: tuple[int, int]) -> Iterator[VectorRow]:
    """What each engine gave of x, h0 or c0 there, and how far that is from the equations."""
    for one in found:
        pair = one.pairs[name]
        if pair.engine is not None:
            quiet = _quiet(one, pair.manual)
            yield VectorRow(f"{label} ({one.engine.name})", pair.engine[at].tolist())
            apart = differences(pair.manual[at], pair.engine[at]).tolist()
            yield VectorRow("difference", apart, is_difference=True, quiet=quiet)


def _sums(found: Sequence[Gradients], width: int) -> Table:
    """Every gradient that an engine may give: its norm, how far the engines are, and the steps that add most to it, as
    many as fit."""
    one = found[0]
    compared = [each for each in found if each.is_compared]
    heads = [each.engine.name if len(compared) > 1 else "difference" for each in compared]
    rows = [(name, text.number(float(pair.manual.double().norm()), 4)) for name, pair in one.pairs.items()]
    taken = sum(2 + max(map(len, column)) for column in zip(("gradient", "norm"), *rows, strict=True))
    taken += sum(2 + max(7, len(head)) for head in heads)
    count = gradient_summary.as_many_as_fit(one, width - taken - 1)
    each = "; of each engine the largest difference" if len(compared) > 1 else ""
    title = f"\ngradients over all steps{each}"
    made = table("gradient", ">norm", *(f">{head}" for head in heads), "largest steps (share of norms)", title=title)
    for name, norm in rows:
        apart = [_apart(each, name) for each in compared]
        made.add_row(name, norm, *apart, Text(gradient_summary.largest(one, name, count), "dim"))
    return made


def _apart(one: Gradients, name: str) -> Text:
    """The largest difference between an engine and the equations; loud where rounding does not do it."""
    pair = one.pairs[name]
    if pair.engine is None:
        return Text("–", "dim")
    value = max_abs_difference(pair.manual, pair.engine)
    return Text(text.difference(value), "dim" if value <= _quiet(one, pair.manual) else text.LOUD)


def gradients_document(found: Gradients) -> dict[str, Any]:
    """Sequences are [batch][step][unit]; padding is null. x of a layer is the part of its direction alone."""
    lengths = found.lengths
    states = {name: found.given.get(name) for name in ("h0", "c0")}
    return {
        "format": "rnnspect.gradients",
        "version": 1,
        "spec": spec_document(found.spec),
        "sequence": {
            "x": numbers(found.given["x"], lengths),
            **{name: numbers(values) for name, values in states.items()},
            "lengths": lengths and list(lengths),
        },
        "engine": engine_document(found.engine),
        "loss": {"what": found.loss, "value": found.loss_value},
        "output": pair_document(found.output, lengths),
        "upstream": numbers(found.upstream, lengths),
        "layers": [_layer(layer, found) for layer in found.layers],
        "x": pair_document(found.x, lengths),
        "h0": pair_document(found.h0),
        "c0": pair_document(found.c0),
        "parameters": {
            name: {**(pair_document(one.gradient) or {}), "steps": numbers(one.steps)}
            for name, one in found.parameters.items()
        },
        "max_abs_difference": found.max_abs_difference if found.is_compared else None,
        "notes": list(found.notes),
    }


def _layer(layer: LayerGradient, found: Gradients) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "direction": layer.direction,
        "quantities": {name: numbers(values, found.lengths) for name, values in layer.quantities.items()},
        "pre_activations": {name: numbers(values, found.lengths) for name, values in layer.pre_activations.items()},
        "reach": _reach(layer.reach, found),
    }


def _reach(reach: Reach, found: Gradients) -> dict[str, Any]:
    items = range(found.batch)
    return {
        "norms": {name: [_known(values[item].tolist()) for item in items] for name, values in reach.norms.items()},
        "paths": [
            {
                "name": path.name,
                "ratios": [_known(path.ratios[item].tolist()) for item in items],
                "rate": [path.rate(item) for item in items],
                "blocked": [path.blocked(item) for item in items],
            }
            for path in reach.paths
        ],
        "saturated": dict(reach.saturated),
        "dead": list(reach.dead),
        "time_constants": None if reach.time_constants is None else reach.time_constants.tolist(),
        "spectral_radius": dict(reach.spectral_radius),
    }


def _known(values: list[float]) -> list[float | None]:
    """null where there is no number: beyond an item's length, or where no gradient goes in."""
    return [None if math.isnan(value) else value for value in values]
