"""A long or wide trace on one screen: of each layer and quantity the smallest, mean and largest value, and how it goes
over time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from rnnspect.network.quantities import PROJECTIONS, WORDS
from rnnspect.network.spec import Spec
from rnnspect.tracing.layers import LayerTrace
from rnnspect.tracing.trace import Trace
from rnnspect.views import text
from rnnspect.views import trace as in_numbers
from rnnspect.views.answers import heading, item_line
from rnnspect.views.rendering import command_line, engine_line, plain_table
from rnnspect.views.selection import CHOOSES_ITEM, Selection, shown_quantities

MOST_UNITS, MOST_STEPS = 16, 12
"""Above one of them a trace is shown so, unless numbers are asked for."""
_MOST_ROWS = 17
"""Lines of the table: with the others they fit a terminal of 24 lines."""
_THEN = "add --steps {step} for numbers · {command} -o r.html shows everything"
_THEN_ONE = "{command} --step 0 --unit 0 shows how h is computed"
_THEN_IN_PYTHON = ".layers holds the numbers · .to_pandas() · .plot()"
_DECIMALS = 2
_WIDEST = 60
"""Characters of a curve over time."""


@dataclass(frozen=True)
class _Row:
    layer: str
    name: str
    values: Tensor
    """(steps, units) of one quantity."""
    is_gate: bool


def is_long(selection: Selection, spec: Spec, steps: int) -> bool:
    """Whether a trace is too large to be shown in numbers, and nobody asked for them."""
    asked = selection.steps is not None or selection.units is not None or selection.precision is not None
    return not asked and (spec.hidden_size > MOST_UNITS or steps > MOST_STEPS)


def numbers_or_summary(
    traces: Sequence[Trace], selection: Selection, width: int, typed: str | None = None
) -> Iterable[RenderableType]:
    """What `rnnspect trace` shows: a summary of what is large, else every number; and how to go on, with the network
    as it was typed, or in Python."""
    trace = traces[0]
    if is_long(selection, trace.spec, trace.steps):
        if typed is None:
            return parts(traces, selection, width, _THEN_IN_PYTHON, "")
        then = _THEN.format(step=min(7, trace.steps - 1), command=command_line("report", typed))
        return parts(traces, selection, width, then, CHOOSES_ITEM)
    if typed is None:
        return in_numbers.parts(traces, selection, width, "")
    then = _THEN_ONE.format(command=command_line("derive", typed))
    return [*in_numbers.parts(traces, selection, width), Text(then, "dim")]


def parts(traces: Sequence[Trace], selection: Selection, width: int, then: str, hint: str) -> Iterator[RenderableType]:
    """Traces of several engines on the same sequence differ only in their answers. `width` is that of the screen."""
    trace = traces[0]
    yield from heading(traces, width)
    yield Text("; ".join(engine_line(one.engine) for one in traces), "dim")
    yield from (Text(note) for one in traces for note in one.notes)
    if trace.batch > 1:
        yield item_line(trace, selection.batch_index, hint)
    rows, hidden = _rows(trace, selection)
    yield _table(rows, width)
    if hidden:
        yield Text(hidden, "dim")
    yield Text(then)


def _rows(trace: Trace, selection: Selection) -> tuple[list[_Row], str]:
    """As many as fit, and what is said of those that do not: of many layers h alone, of very many the two ends."""
    places = [one for one in trace.layers if selection.shows(trace.spec, one.layer, one.direction)]
    names = shown_quantities(selection, trace.spec)
    if selection.quantities is None:
        names = [name for name in names if name not in ("x", *PROJECTIONS)]
    hidden = ""
    if len(places) * len(names) > _MOST_ROWS and "h" in names and len(names) > 1:
        names, hidden = ["h"], "--layers 0 shows the gates of a layer"
    most = max(1, _MOST_ROWS // len(names))
    if len(places) > most:
        ends = [*places[: (most + 1) // 2], *places[len(places) - most // 2 :]]
        hidden = f"{len(places) - len(ends)} of {len(places)} layers and directions hidden; --layers 0 shows one"
        places = ends
    return [row for place in places for row in _of_layer(trace, place, names, selection.batch_index)], hidden


def _of_layer(trace: Trace, layer: LayerTrace, names: Sequence[str], item: int) -> Iterator[_Row]:
    place = f"{layer.layer} {layer.direction}" if len(trace.layers) > 1 else ""
    for at, name in enumerate(names):
        values = layer.quantities[name][item, : trace.length(item)].float()
        is_gate = name in trace.spec.cell_type.gates and len(trace.spec.cell_type.gates) > 1
        yield _Row("" if at else place, _in_words(trace.spec, name), values, is_gate and float(values.min()) >= 0)


def _table(rows: Sequence[_Row], width: int) -> Table:
    has_places = any(row.layer for row in rows)
    heads = ("", ">min", ">mean", ">max", "mean |value| over time")
    made = plain_table(*(["layer"] if has_places else []), *heads)
    cells = [_numbers(row) for row in rows]
    taken = max((len(row.layer) + 2 for row in rows), default=0) if has_places else 0
    taken += (
        max(len(row.name) for row in rows) + 2 + sum(2 + max(3, *map(len, one)) for one in zip(*cells, strict=True))
    )
    room = max(8, min(_WIDEST, width - taken - 1))
    for row, numbers in zip(rows, cells, strict=True):
        over_time = row.values.abs().mean(dim=1).tolist()
        curve = text.curve(over_time, room, top=1.0 if row.is_gate else None)
        made.add_row(*([row.layer] if has_places else []), row.name, *numbers, Text(curve, "cyan"))
    return made


def _numbers(row: _Row) -> list[str]:
    """NaN where one of the values is. A mean of 0.001 between -0.4 and 0.4 is 0.00."""
    values = row.values
    found = [float(one) for one in (values.min(), values.double().mean(), values.max())]
    if all(map(math.isfinite, found)) and 0.1 <= max(map(abs, found)) < 1e5:
        return [f"{round(one, _DECIMALS) + 0.0:.{_DECIMALS}f}" for one in found]
    return [text.number(one, _DECIMALS) for one in found]


def _in_words(spec: Spec, name: str) -> str:
    """f forget; the name alone of what is no gate."""
    is_gate = name in spec.cell_type.quantities and name not in spec.cell_type.states
    return f"{name} {WORDS[name][0]}" if is_gate and name in WORDS else text.quantity(name, spec)
