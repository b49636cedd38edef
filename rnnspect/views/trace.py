"""A trace as tables: one for each layer and direction, a block of rows for each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from rnnspect.network.equations import equation_lines
from rnnspect.network.tensors import differences
from rnnspect.tracing.layers import LayerTrace, by_gate
from rnnspect.tracing.trace import Trace
from rnnspect.views import text
from rnnspect.views.answers import heading, item_line, rounding_sized
from rnnspect.views.rendering import engine_lines
from rnnspect.views.selection import CHOOSES_ITEM, Selection, shown_quantities, shown_steps, with_gaps
from rnnspect.views.vectors import VectorBlock, VectorRow, gap, hidden, legend, vector_tables


def parts(
    traces: Sequence[Trace], selection: Selection, width: int, hint: str = CHOOSES_ITEM
) -> Iterator[RenderableType]:
    """Traces of several engines on the same sequence stand side by side, in lines of `width` characters. `hint` says
    how another item of the batch is chosen."""
    tables = list(_tables(traces, selection, width))
    yield from _heading(traces, width, tables)
    if traces[0].batch > 1:
        yield item_line(traces[0], selection.batch_index, hint)
    yield from tables


def _tables(traces: Sequence[Trace], selection: Selection, width: int) -> Iterator[Table]:
    trace, item, precision = traces[0], selection.batch_index, selection.decimals
    for at, layer in enumerate(trace.layers):
        if selection.shows(trace.spec, layer.layer, layer.direction):
            engines = {one.engine.name: one.layers[at].engine for one in traces}
            quantities = _quantities(trace, layer, selection)
            widest = max(values.shape[-1] for values in quantities.values())
            units = selection.chosen_units(widest)
            backwards = " (from the last step to the first)" if layer.direction == "reverse" else ""
            title = f"\nlayer {layer.layer}, {layer.direction}{backwards}"
            blocks = list(_blocks(trace, layer, quantities, engines, selection))
            yield from vector_tables(title, ("step", "quantity"), blocks, units, precision, width)
    if trace.head:
        heads = {one.engine.name: one.head.engine[item] for one in traces if one.head and one.head.engine is not None}
        rows = list(_compared("head", trace.head.manual[item], heads, rounding_sized(trace)))
        yield from vector_tables("\nhead", ("", ""), [VectorBlock("", rows)], None, precision, width)


def _heading(traces: Sequence[Trace], width: int, tables: Sequence[Table]) -> Iterator[Text]:
    trace = traces[0]
    yield from heading(traces, width)
    for one in traces:
        yield from engine_lines(one.engine, one.stack_difference)
        yield from map(Text, one.notes)
    yield from (Text(f"  {line}", "dim") for line in equation_lines(trace.spec))
    name = trace.engine.name if len(traces) == 1 else "engine"
    yield from legend("" if trace.output.engine is None else f"difference = {name} − equations", tables)


def _quantities(trace: Trace, layer: LayerTrace, selection: Selection) -> dict[str, Tensor]:
    """The chosen quantities of the item, each [step][unit]; packed projections taken apart by gate."""
    item, spec = selection.batch_index, trace.spec
    chosen = by_gate(layer, shown_quantities(selection, spec), spec)
    return {text.quantity(name, spec): values[item] for name, values, _ in chosen}


def _blocks(
    trace: Trace,
    layer: LayerTrace,
    quantities: dict[str, Tensor],
    engines: dict[str, dict[str, Tensor]],
    selection: Selection,
) -> Iterator[VectorBlock]:
    """The chosen steps, the state that the first of them starts from, and what is left out.

    `engines` holds what each engine showed of this layer and direction.
    """
    item, quiet = selection.batch_index, rounding_sized(trace)
    length = trace.length(item)
    initial = list(_initial(trace, layer, selection))
    start = [VectorBlock("start", initial)] if initial else []
    if layer.direction == "forward":
        yield from start
    for step in with_gaps(shown_steps(selection, trace.steps), length):
        if isinstance(step, range):
            yield hidden(step)
            continue
        rows: list[VectorRow] = []
        for name, values in quantities.items():
            shown = {who: given[name][item, step] for who, given in engines.items() if name in given}
            rows += _compared(name, values[step], shown, quiet)
        yield VectorBlock(str(step), rows)
    if layer.direction == "reverse":
        yield from start
    if length < trace.steps:
        yield gap(f"from step {length}: padding")


def _initial(trace: Trace, layer: LayerTrace, selection: Selection) -> Iterator[VectorRow]:
    """h0 and c0 of this layer and direction, where they are anything but zeros."""
    at = trace.spec.row(layer.layer, layer.direction)
    chosen = shown_quantities(selection, trace.spec)
    for name, state in (("c", trace.c0), ("h", trace.h0)):
        if state is not None and name in chosen and bool(state.any()):
            yield VectorRow(f"{name}0", state[at, selection.batch_index].tolist())


def _compared(name: str, manual: Tensor, engines: dict[str, Tensor], quiet: float) -> Iterator[VectorRow]:
    """The equations' numbers, and those of each engine with the difference; one up to `quiet` is said quietly."""
    yield VectorRow(name, manual.tolist())
    for who, engine in engines.items():
        yield VectorRow(f"{name} ({who})", engine.tolist())
        yield VectorRow("difference", differences(manual, engine).tolist(), is_difference=True, quiet=quiet)
