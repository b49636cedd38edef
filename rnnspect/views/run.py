"""A run as tables, with the shapes as PyTorch shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.network.parameters import module_repr
from rnnspect.views import text
from rnnspect.views.rendering import engine_lines, rendered, width_of
from rnnspect.views.selection import HEAD_AND_TAIL, Selection, shown_steps
from rnnspect.views.vectors import Block, Gap, Row, vector_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from torch import Tensor

    from rnnspect.tracing.run import Run
    from rnnspect.views.rendering import Screen


def as_table(run: Run, precision: int, screen: Screen) -> str:
    return rendered(_parts(run, precision, width_of(screen)), screen)


def _parts(run: Run, precision: int, width: int) -> Iterator[RenderableType]:
    yield Text(module_repr(run.spec), "bold")
    yield from engine_lines(run.engine, run.stack_difference)
    yield Text(f"input shape: {text.shape(_as_the_module_takes(run, run.x))}")
    title = f"\noutput: {text.shape(_as_the_module_takes(run, run.output))}"
    blocks = list(_output_blocks(run))
    yield from vector_tables(title, ("batch", "step"), blocks, None, precision, width)
    for name, state in (("h_n", run.h_n), ("c_n", run.c_n)):
        if state is not None:
            yield from _state_tables(run, name, state, precision, width)
    if run.head is not None:
        shape = text.shape(run.head.shape if run.batched else run.head.shape[1:])
        rows = [Block(str(item), [Row("head", run.head[item].tolist())]) for item in _some(len(run.head))]
        yield from vector_tables(
            f"\nhead: {shape}", ("batch", ""), _with_gaps(rows, len(run.head)), None, precision, width
        )


def _output_blocks(run: Run) -> Iterator[Block | Gap]:
    steps = run.output.shape[1]
    shown: list[Block | Gap] = []
    for item in _some(len(run.output)):
        length = run.lengths[item] if run.lengths else steps
        rows = []
        before = -1
        for step in [step for step in shown_steps(Selection(), steps) if step < length]:
            if step != before + 1:
                rows.append(Row(f"… {step - before - 1} not shown", []))
            rows.append(Row(str(step), run.output[item, step].tolist()))
            before = step
        if before != length - 1:
            rows.append(Row(f"… {length - 1 - before} not shown", []))
        if length < steps:
            rows.append(Row(f"{steps - length} of padding", []))
        shown.append(Block(str(item), rows))
    yield from _with_gaps(shown, len(run.output))


def _state_tables(run: Run, name: str, state: Tensor, precision: int, width: int) -> Iterator[RenderableType]:
    """The final state of every layer and direction."""
    blocks: list[Block | Gap] = []
    for place, of_batch in enumerate(state):
        layer, direction = divmod(place, run.spec.num_directions)
        label = f"layer {layer}" + (f" {run.spec.directions[direction]}" if run.spec.bidirectional else "")
        rows = [Row(str(item), of_batch[item].tolist()) for item in _some(len(of_batch))]
        if len(rows) < len(of_batch):
            rows.append(Row(f"… {len(of_batch) - len(rows)} not shown", []))
        blocks.append(Block(label, rows))
    shape = text.shape(state.shape if run.batched else (state.shape[0], state.shape[2]))
    yield from vector_tables(f"\n{name}: {shape}", ("", "batch"), blocks, None, precision, width)


def _as_the_module_takes(run: Run, values: Tensor) -> tuple[int, ...]:
    batch, steps, units = values.shape
    if not run.batched:
        return steps, units
    return (batch, steps, units) if run.spec.batch_first else (steps, batch, units)


def _some(batch: int) -> range:
    return range(min(batch, HEAD_AND_TAIL))


def _with_gaps(blocks: list[Block] | list[Block | Gap], batch: int) -> list[Block | Gap]:
    left_out = batch - len(blocks)
    return [*blocks, *([Gap(f"{left_out} more not shown")] if left_out else [])]
