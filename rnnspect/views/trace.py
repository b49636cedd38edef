"""A trace as tables: one for each layer and direction, a block of rows for each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.network.parameters import module_repr
from rnnspect.network.tensors import differences
from rnnspect.views.engine import engine_lines
from rnnspect.views.rendering import rendered, width_of
from rnnspect.views.selection import indices, shown_quantities, shown_steps
from rnnspect.views.vectors import Block, Gap, Row, vector_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from torch import Tensor

    from rnnspect.tracing.trace import LayerTrace, Trace
    from rnnspect.views.rendering import Screen
    from rnnspect.views.selection import Selection

    Seen = dict[str, dict[str, Tensor]]
    """What each engine showed of a layer, by the engine's name."""


def as_table(traces: Sequence[Trace], selection: Selection, screen: Screen) -> str:
    """Traces of several engines on the same sequence stand side by side."""
    return rendered(parts(traces, selection, width_of(screen)), screen)


def parts(
    traces: Sequence[Trace], selection: Selection, width: int, hint: str = " (--batch-index chooses)"
) -> Iterator[RenderableType]:
    """`hint` is how another item of the batch is chosen."""
    trace = traces[0]
    yield Text(_title(trace), "bold")
    for one in traces:
        yield from engine_lines(one.engine, one.stack_difference)
        yield from map(Text, one.notes)
    yield from (Text("  " + line, "dim") for line in trace.spec.cell_type.equations)
    name = trace.engine.name if len(traces) == 1 else "the engine above"
    yield Text(f"difference: {name} minus equations; magnitude: of all units, ▲ above 1, ? NaN", "dim")
    item = selection.batch_index
    if trace.batch > 1:
        length = f", {_counted(trace.length(item), 'step')} long" if trace.lengths else ""
        yield Text(f"batch item {item} of {trace.batch}{length}{hint}")
    layers = indices(selection.layers or ":", trace.spec.num_layers, "layer")
    for at, layer in enumerate(trace.layers):
        if layer.layer in layers and selection.direction in (None, layer.direction):
            seen = {one.engine.name: one.layers[at].engine for one in traces}
            units = None if selection.units is None else _units(trace, layer, selection)
            backwards = " (from the last step to the first)" if layer.direction == "reverse" else ""
            title = f"\nlayer {layer.layer}, {layer.direction}{backwards}"
            blocks = list(_blocks(trace, layer, seen, selection))
            yield from vector_tables(title, ("step", "quantity"), blocks, units, selection.precision, width)
    if trace.head:
        engines = {one.engine.name: one.head.engine[item] for one in traces if one.head}
        rows = _compared("head", trace.head.manual[item], engines)
        yield from vector_tables("\nhead", ("", ""), [Block("", rows)], None, selection.precision, width)
    for at, one in enumerate(traces):
        yield Text(("" if at else "\n") + _summary(one), "bold")


def _units(trace: Trace, layer: LayerTrace, selection: Selection) -> list[int]:
    widest = max(values.shape[-1] for values in _rows_of_step(trace, layer, selection, 0).values())
    assert selection.units is not None
    return indices(selection.units, widest, "unit")


def _title(trace: Trace) -> str:
    batch = f"a batch of {trace.batch}, " if trace.batched else ""
    module = module_repr(trace.spec.with_changes(head=None))
    return f"{module} on {batch}{_counted(trace.steps, 'step')}"


def _blocks(trace: Trace, layer: LayerTrace, seen: Seen, selection: Selection) -> Iterator[Block | Gap]:
    """The chosen steps, the state that the first of them starts from, and what is left out."""
    length = trace.length(selection.batch_index)
    start = list(_initial(trace, layer, selection))
    if start and layer.direction == "forward":
        yield Block("start", start)
    next_step = 0
    for step in [*(step for step in shown_steps(selection, trace.steps) if step < length), length]:
        if step == next_step + 1:
            yield Gap(f"{next_step} left out")
        elif step > next_step:
            yield Gap(f"{next_step} to {step - 1} left out")
        if step < length:
            yield Block(str(step), list(_rows(trace, layer, seen, selection, step)))
        next_step = step + 1
    if start and layer.direction == "reverse":
        yield Block("start", start)
    if length < trace.steps:
        yield Gap(f"{length} on: padding")


def _initial(trace: Trace, layer: LayerTrace, selection: Selection) -> Iterator[Row]:
    """h0 and c0 of this layer and direction, where they are anything but zeros."""
    at = layer.layer * trace.spec.num_directions + trace.spec.directions.index(layer.direction)
    chosen = shown_quantities(selection, trace.spec)
    for name, state in (("c", trace.c0), ("h", trace.h0)):
        if state is not None and name in chosen and bool(state.any()):
            yield Row(f"{name}0", state[at, selection.batch_index].tolist())


def _rows(trace: Trace, layer: LayerTrace, seen: Seen, selection: Selection, step: int) -> Iterator[Row]:
    for name, values in _rows_of_step(trace, layer, selection, step).items():
        shown = {who: given[name][selection.batch_index, step] for who, given in seen.items() if name in given}
        yield from _compared(name, values, shown)


def _rows_of_step(trace: Trace, layer: LayerTrace, selection: Selection, step: int) -> dict[str, Tensor]:
    """Each quantity's vector at one step; the packed input projection taken apart by gate."""
    gates = trace.spec.cell_type.gates
    rows: dict[str, Tensor] = {}
    for name in shown_quantities(selection, trace.spec):
        values = layer.quantities[name][selection.batch_index, step]
        if name == "input_projection" and len(gates) > 1:
            parts = values.chunk(len(gates))
            rows |= {f"{name} {gate}": part for gate, part in zip(gates, parts, strict=True)}
        else:
            rows[name] = values
    return rows


def _compared(name: str, manual: Tensor, engines: dict[str, Tensor]) -> list[Row]:
    rows = [Row(name, manual.tolist())]
    for who, engine in engines.items():
        rows.append(Row(f"{name} ({who})", engine.tolist()))
        rows.append(Row("difference", differences(manual, engine).tolist(), is_difference=True))
    return rows


def _summary(trace: Trace) -> str:
    apart = trace.max_abs_difference
    found = "the same number everywhere" if apart == 0 else f"at most {apart:.2e} apart"
    if bool(trace.output.engine.isnan().any()):
        found += ", NaN included"
    return f"the equations and {trace.engine.name}: {found}"


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
