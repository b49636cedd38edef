"""A run as tables, with the shapes as PyTorch shows them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

from rnnspect.engines.interface import NoEngine
from rnnspect.network.parameters import module_repr
from rnnspect.tracing.trace import Run
from rnnspect.views import text
from rnnspect.views.rendering import engine_lines
from rnnspect.views.selection import HEAD_AND_TAIL, Selection, shown_steps, with_gaps
from rnnspect.views.vectors import VectorBlock, VectorRow, gap, vector_tables


def parts(run: Run, precision: int, width: int) -> Iterator[RenderableType]:
    """`precision` is a number of decimals, `width` the characters of a line."""
    yield Text(module_repr(run.spec), "bold")
    if run.engine.name == NoEngine.name:
        yield Text(f"computed by the equations, in {run.engine.dtype}; no framework ran")
    else:
        yield from engine_lines(run.engine, run.stack_difference)
    yield Text(f"input shape: {text.shape(_as_the_module_takes(run, run.x))}")
    items = range(min(run.batch, HEAD_AND_TAIL))
    left_out = run.batch - len(items)
    more = [gap(f"{left_out} hidden")] if left_out else []

    title = f"\noutput: {text.shape(_as_the_module_takes(run, run.output))}"
    blocks = [VectorBlock(str(item), list(_steps(run, item))) for item in items]
    yield from vector_tables(title, ("batch", "step"), blocks + more, None, precision, width)
    for name, state in (("h_n", run.h_n), ("c_n", run.c_n)):
        if state is not None:
            title = f"\n{name}: {text.shape(state.shape if run.batched else (state.shape[0], state.shape[2]))}"
            rest = [VectorRow(f"… {left_out} hidden", [])] if left_out else []
            blocks = [
                VectorBlock(
                    _place(run, place), [*(VectorRow(str(item), of_batch[item].tolist()) for item in items), *rest]
                )
                for place, of_batch in enumerate(state)
            ]
            yield from vector_tables(title, ("", "batch"), blocks, None, precision, width)
    if run.head is not None:
        title = f"\nhead: {text.shape(run.head.shape if run.batched else run.head.shape[1:])}"
        blocks = [VectorBlock(str(item), [VectorRow("head", run.head[item].tolist())]) for item in items]
        yield from vector_tables(title, ("batch", ""), blocks + more, None, precision, width)


def _steps(run: Run, item: int) -> Iterator[VectorRow]:
    """The output of one item of the batch."""
    length = run.length(item)
    for step in with_gaps(shown_steps(Selection(), run.steps), length):
        if isinstance(step, range):
            yield VectorRow(f"… {len(step)} hidden", [])
        else:
            yield VectorRow(str(step), run.output[item, step].tolist())
    if length < run.steps:
        yield VectorRow(f"{run.steps - length} of padding", [])


def _place(run: Run, place: int) -> str:
    layer, direction = divmod(place, run.spec.num_directions)
    return f"layer {layer}" + (f" {run.spec.directions[direction]}" if run.spec.bidirectional else "")


def _as_the_module_takes(run: Run, values: Tensor) -> tuple[int, ...]:
    batch, steps, units = values.shape
    if not run.batched:
        return steps, units
    return (batch, steps, units) if run.spec.batch_first else (steps, batch, units)
