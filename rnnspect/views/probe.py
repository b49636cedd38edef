"""What a probe holds, and how it is put to an implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from rnnspect.causes.probing import RIGHT, Probe
from rnnspect.errors import listed
from rnnspect.network.parameters import module_repr, parameters_of
from rnnspect.network.shapes import shapes_of
from rnnspect.views import text
from rnnspect.views.rendering import table


def alike_in_words(probe: Probe) -> list[str]:
    """Which mistakes do not show in the probe, and which it does not tell from one another."""
    unseen = dict.fromkeys(other for one, other in probe.alike if one == RIGHT)
    others = [pair for pair in probe.alike if not {*pair} <= {RIGHT, *unseen}]
    lines = [f"in the probe, a correct run looks like {listed(unseen)}"] if unseen else []
    return lines + [f"in the probe, {one} looks like {other}" for one, other in others]


def parts(probe: Probe, path: Path, then: str) -> Iterator[RenderableType]:
    """The arrays in the file, the lines that run somebody's implementation on it, and the command that comes `then`."""
    yield Text(module_repr(probe.spec), "bold")
    yield Text(
        "test data for which all known mistakes give different numbers:"
        if not probe.alike
        else "test data for which known mistakes give different numbers:"
    )
    arrays = table("array", "shape", "axes")
    for name, shape, axes in _arrays(probe):
        arrays.add_row(name, str(shape), axes)
    yield arrays
    for said in alike_in_words(probe):
        yield Text(said)
    name, states = text.printable(str(path)), ("h", "c") if probe.sequence.c0 is not None else ("h",)
    kept = ", ".join(["output=output", *(f"{state}_n={state}_n" for state in states)])
    given = [f'given["{array}"]' for array, _, _ in _arrays(probe) if array in {"x", "h0", "c0", "lengths"}]
    yield Text("\nRun your implementation on it:\n")
    yield from _code(
        f'given = np.load("{name}")',
        "# load the parameters: they have PyTorch's names; then",
        f"{', '.join(['output', *(f'{state}_n' for state in states)])} = yours({', '.join(given)})",
        f'np.savez("mine.npz", {kept})',
    )
    if probe.spec.num_layers > 1:
        top = probe.spec.num_layers - 1
        way = probe.spec.directions[0]
        yield Text(f"\nSave h of each layer too, to see more: l0.{way}.h to l{top}.{way}.h, (batch, step, unit)")
    yield Text("\nThen check what it gave:\n")
    yield from _code(then)


def _code(*lines: str) -> Iterator[Text]:
    """To be copied: a line is whole."""
    for line in lines:
        yield Text(f"    {line}", no_wrap=True, overflow="ignore")


def _arrays(probe: Probe) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and axes."""
    sequence, axes = probe.sequence, shapes_of(probe.spec)
    x = sequence.x.transpose(0, 1) if probe.spec.batch_first else sequence.x
    yield "x", tuple(x.shape), ", ".join(axes.input.names)
    states = ", ".join(axes.h_n.names)
    yield "h0", tuple(sequence.h0.shape), states
    if sequence.c0 is not None:
        yield "c0", tuple(sequence.c0.shape), states
    if sequence.lengths is not None:
        yield "lengths", (len(sequence.lengths),), "batch"
    for parameter in parameters_of(probe.spec):
        yield parameter.name, parameter.shape, parameter.reads
