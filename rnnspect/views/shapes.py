"""Shapes as a table and as markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.views import text
from rnnspect.views.rendering import rendered, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from rnnspect.network.parameters import Axes, Parameter, Shapes
    from rnnspect.views.rendering import Screen

_GATES = "gate rows"
_COLUMNS = ("parameter", "shape", "reads", _GATES, ">count", ">bytes")


def as_table(shapes: Shapes, screen: Screen) -> str:
    return rendered(parts(shapes), screen)


def parts(shapes: Shapes) -> list[RenderableType]:
    parameters = table(*(column for column in _COLUMNS if column != _GATES))
    for parameter in shapes.parameters:
        cells = zip(_COLUMNS, _row(parameter), strict=True)
        parameters.add_row(*(cell for column, cell in cells if column != _GATES))
    packed = shapes.parameters[0]
    gates = Text(f"gate rows wherever it reads {packed.reads.split()[0]}: {_gates(packed)}")
    results = table("", "shape", "axes")
    for name, axes in _results(shapes):
        results.add_row(name, text.shape(axes.shape), ", ".join(axes.names))
    total = Text(f"total: {shapes.total:,} parameters, {text.size(shapes.bytes)} in {shapes.spec.dtype}")
    return [Text(shapes.module), parameters, gates, total, results]


def as_markdown(shapes: Shapes) -> str:
    rows = [list(_COLUMNS), *(_row(parameter) for parameter in shapes.parameters)]
    results = [["", "shape", "axes"]]
    results += [[name, f"({_sizes(axes)})", ", ".join(axes.names)] for name, axes in _results(shapes)]
    total = f"total: {shapes.total:,} parameters, {text.size(shapes.bytes)} in {shapes.spec.dtype}"
    return f"```\n{shapes.module}\n```\n\n{_markdown(rows)}\n{total}\n\n{_markdown(results)}"


def _row(parameter: Parameter) -> list[str]:
    sizes = f"[{', '.join(map(str, parameter.shape))}]"
    return [parameter.name, sizes, parameter.reads, _gates(parameter), f"{parameter.count:,}", f"{parameter.bytes:,}"]


def _gates(parameter: Parameter) -> str:
    return "  ".join(f"{gate.name} {gate.start}:{gate.stop}" for gate in parameter.gates)


def _results(shapes: Shapes) -> Iterator[tuple[str, Axes]]:
    named = {"input": shapes.input, "output": shapes.output, "h_n": shapes.h_n, "c_n": shapes.c_n}
    for name, axes in (named | {"head": shapes.head}).items():
        if axes:
            yield name, axes


def _sizes(axes: Axes) -> str:
    return ", ".join(map(str, axes.shape))


def _markdown(rows: list[list[str]]) -> str:
    head, *body = [[cell.removeprefix(">") for cell in rows[0]], *rows[1:]]
    rule = ["---:" if cell.startswith(">") else "---" for cell in rows[0]]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))
