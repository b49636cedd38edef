"""Shapes as a table and as markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from rnnspect.files import free_memory
from rnnspect.files.sources import Generator, parse
from rnnspect.network import memory
from rnnspect.network.equations import equation_lines
from rnnspect.network.parameters import Parameter
from rnnspect.network.shapes import Axes, ModelPart, ModelShapes, Shapes
from rnnspect.views import text
from rnnspect.views.rendering import table

_COLUMNS = ("parameter", "shape", "dimensions", ">count", ">bytes")
_ROWS = "rows per gate"
_USUAL_STEPS = 100
"""Of the run whose memory is told, where the spec does not say how many."""

_TREE = ("module", ">parameters", ">trainable", "layer")


def parts(shapes: Shapes, name: str = "") -> list[RenderableType]:
    """`name` is that of the module, and what it reads, where there are others beside it."""
    parameters, results = table(*_COLUMNS), table("", "shape", "axes")
    for parameter in shapes.parameters:
        parameters.add_row(*_row(parameter))
    for result, axes in _results(shapes):
        results.add_row(result, text.shape(axes.shape), ", ".join(axes.names))
    packed = next((one for one in shapes.parameters if len(one.gates) > 1), None)
    return [
        Text(f"{name}: {shapes.module}" if name else shapes.module, "bold"),
        *(Text(f"  {line}", "dim") for line in equation_lines(shapes.spec)),
        parameters,
        *([Text(f"{_ROWS}: {_gates(packed)}")] if packed else []),
        Text(_total(shapes)),
        *map(Text, _work(shapes)),
        results,
    ]


def model_parts(model: ModelShapes) -> Iterator[RenderableType]:
    """The tree of modules, then the shapes of each recurrent one."""
    tree = table(*_TREE)
    tree.columns[-1].no_wrap = False  # the one that may be long
    for part in model.parts:
        tree.add_row(*map(text.printable, _in_tree(part)))
    yield tree
    frozen = model.total - model.parts[0].trainable
    said = f"{model.parts[0].trainable:,} trainable, {frozen:,} frozen" if frozen else "all trainable"
    yield Text(f"total: {text.counted(model.total, 'parameter')}, {said}\n")
    yield from (Text(f"{name or 'the model itself'}: {why}", text.LOUD) for name, why in model.refused.items())
    for name, one in model.recurrent.items():
        yield from parts(one, name)


def model_as_markdown(model: ModelShapes) -> str:
    """The same; the depth of a module is told by its full name."""
    rows = [[part.name or "(the model)", *_in_tree(part)[1:]] for part in model.parts]
    tree = _markdown(list(_TREE), rows)
    return "\n".join([tree, *(f"## {name}\n\n{as_markdown(one)}" for name, one in model.recurrent.items())])


def _in_tree(part: ModelPart) -> list[str]:
    """The cells of a module's row, its name below that of the module that it is in."""
    name = "  " * part.depth + (part.name.rpartition(".")[2] or "(the model)")
    trained = "all" if part.trainable == part.count else f"{part.trainable:,}" if part.trainable else "none"
    return [name, f"{part.count:,}", trained if part.count else "", part.layer]


def as_markdown(shapes: Shapes) -> str:
    """The same, with the rows of each gate in the line of each parameter."""
    heads = [*_COLUMNS[:3], _ROWS, *_COLUMNS[3:]]
    rows = [[*row[:3], _gates(parameter), *row[3:]] for parameter in shapes.parameters for row in [_row(parameter)]]
    results = [[name, f"({', '.join(map(str, axes.shape))})", ", ".join(axes.names)] for name, axes in _results(shapes)]
    parameters, shown = _markdown(heads, rows), _markdown(["", "shape", "axes"], results)
    said = "\n\n".join([_total(shapes), *_work(shapes)])
    return f"```\n{shapes.module}\n```\n\n{parameters}\n{said}\n\n{shown}"


def _row(parameter: Parameter) -> list[str]:
    sizes = f"[{', '.join(map(str, parameter.shape))}]"
    return [parameter.name, sizes, parameter.reads, f"{parameter.count:,}", f"{parameter.bytes:,}"]


def _gates(parameter: Parameter) -> str:
    return "  ".join(f"{gate.name} {gate.start}:{gate.stop}" for gate in parameter.gates)


def _total(shapes: Shapes) -> str:
    return f"total: {shapes.total:,} parameters, {text.size(shapes.bytes)} in {shapes.spec.dtype}"


def _work(shapes: Shapes) -> Iterator[str]:
    """What a step and a run take."""
    none = "none with parameters or of matrices; products unit by unit are not counted"
    yield f"multiply-adds: {f'{shapes.multiply_adds:,} a step, for each sequence' if shapes.multiply_adds else none}"
    spec = shapes.spec
    source = parse(spec.input) if isinstance(spec.input, str) else None
    steps = source.count if isinstance(source, Generator) and source.count else _USUAL_STEPS
    batch, needed = spec.batch or 1, free_memory.in_words(memory.numbers_need(spec, steps, spec.batch or 1))
    yield f"memory of a run: about {needed} for {text.counted(steps, 'step')}, batch of {batch}, besides PyTorch"


def _results(shapes: Shapes) -> Iterator[tuple[str, Axes]]:
    for name in ("input", "output", "h_n", "c_n", "head"):
        if axes := getattr(shapes, name):
            yield name, axes


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---:" if head.startswith(">") else "---" for head in heads]
    lines = [[head.removeprefix(">") for head in heads], rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
