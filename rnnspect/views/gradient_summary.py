"""The gradients of a long or wide run on one screen: their norms over time, and how far they reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from rnnspect.network.parameters import suffix
from rnnspect.tracing.gradients import Gradients, LayerGradient
from rnnspect.views import reach, text
from rnnspect.views.rendering import plain_table
from rnnspect.views.selection import Selection, shown_quantities

_LINES = 23
"""Of a terminal, without its prompt."""
_WIDEST = 60
_LARGEST = 3


def parts(one: Gradients, selection: Selection, width: int, lead: Sequence[Text]) -> Iterator[RenderableType]:
    """What fits on a screen between the `lead`, which stands above it, and a line below that says how to go on."""
    places = [each for each in one.layers if selection.shows(one.spec, each.layer, each.direction)]
    free = _LINES - sum(_height(line, width) for line in lead) - 1
    if len(places) == 1:
        lines = list(_one_place(one, places[0], selection, width))
    else:
        lines = list(_many_places(one, places, selection, width, free - 4))
    yield from lines
    left = free - sum(_height(line, width) for line in lines)
    yield from _parameters(one, places, left, width)


def _height(part: RenderableType, width: int) -> int:
    if isinstance(part, Table):
        return part.row_count + 1
    assert isinstance(part, Text)
    return -(-part.cell_len // width)


def _one_place(one: Gradients, layer: LayerGradient, selection: Selection, width: int) -> Iterator[RenderableType]:
    item = selection.batch_index
    asked, q, cell = shown_quantities(selection, one.spec), layer.quantities, one.spec.cell_type
    names = [name for name in (*cell.states, *cell.quantities) if name in asked]
    shown = {f"dL/d{name}": q[name][item] for name in names}
    if len(cell.gates) == 1 and "h" in asked:
        shown["dL/ds"] = layer.pre_activations[cell.gates[0]][item]
    if "x" in asked:
        shown["dL/dx"] = one.whole_x(layer.layer)[item]
        if one.spec.bidirectional:
            shown["  of this direction"] = q["x"][item]
    yield _over_time(list(shown.items()), one.length(item), width)
    yield Text(reach.sentence(layer, item, one.length(item)))
    yield from (Text(line, "dim") for line in reach.reasons(layer.reach))


def _many_places(
    one: Gradients, places: Sequence[LayerGradient], selection: Selection, width: int, most: int
) -> Iterator[RenderableType]:
    item, count = selection.batch_index, max(2, most)
    shown = list(places)
    if len(places) > count:
        shown = [*places[: (count + 1) // 2], *places[len(places) - count // 2 :]]
    rows = [(f"layer {each.layer} {each.direction}", each.quantities["h"][item]) for each in shown]
    yield _over_time(rows, one.length(item), width, [reach.in_brief(each.reach, item) for each in shown])
    left_out = len(places) - len(shown)
    hidden = f"{left_out} of {len(places)} layers and directions hidden; " if left_out else ""
    yield Text(f"{hidden}--layers 0 shows the gates of a layer, and why", "dim")


def _over_time(rows: Sequence[tuple[str, Tensor]], length: int, width: int, beside: Sequence[str] = ()) -> Table:
    """The norm at both ends, and between them on a logarithmic scale."""
    heads = ["step 0", *([f"step {length - 1}"] if length > 1 else [])]
    norms = [values[:length].double().norm(dim=-1).tolist() for _, values in rows]
    cells = [[_short(value) for value in (each[0], *each[1:][-1:])] for each in norms]
    taken = 2 + max(len(name) for name, _ in rows) + sum(2 + max(len(head), 7) for head in heads)
    taken += 2 + max(6, *map(len, beside)) if beside else 0
    room = max(8, min(_WIDEST, width - taken - 1))
    said = "norm over time (log scale)"
    said = said if len(said) <= room else "norm over time"[:room]
    first, last = ("dL/dh of", ["a step", said]) if beside else ("", [said])
    made = plain_table(first, *(f">{head}" for head in heads), *last)
    for at, ((name, _), numbers, norm) in enumerate(zip(rows, cells, norms, strict=True)):
        curve = Text(text.log_curve(norm, room), "cyan")
        made.add_row(name, *numbers, *([beside[at]] if beside else []), curve)
    return made


def _parameters(one: Gradients, places: Sequence[LayerGradient], left: int, width: int) -> Iterator[Table]:
    """Those of the layers that are shown, the largest first, as many as fit, and the steps that add most to them."""
    ends = [suffix(each.layer, each.direction) for each in places]
    norms = {
        name: float(each.gradient.manual.double().norm())
        for name, each in one.parameters.items()
        if name[name.rindex("_l") :] in ends
    }
    if left < 3 or not norms:
        return
    shown = sorted(norms, key=lambda name: -norms[name])[: left - 1]
    if len(shown) < len(norms):
        shown = shown[: left - 2]
    made = plain_table("sum over all steps", ">norm", "largest steps (share of all norms)")
    room = width - max(len("sum over all steps"), *map(len, shown)) - 2 - 9 - 1
    count = as_many_as_fit(one, room)
    for name in shown:
        made.add_row(name, _short(norms[name]), largest(one, name, count))
    if len(shown) < len(norms):
        made.add_row(f"{len(norms) - len(shown)} smaller ones", style="dim")
    yield made


def _short(value: float) -> str:
    """11.3; a power of ten of what is very small or large."""
    return f"{value:.3g}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.1e}"


def as_many_as_fit(one: Gradients, width: int) -> int:
    """How many of the largest steps of each parameter can be named in so many characters, at least one."""
    counts = range(_LARGEST, 1, -1)
    return next((n for n in counts if all(len(largest(one, name, n)) <= width for name in one.parameters)), 1)


def largest(one: Gradients, name: str, count: int) -> str:
    """step 99: 35 %, step 98: 24 %; of many that are alike the largest alone. Empty of what is no parameter."""
    if name not in one.parameters:
        return ""
    steps = one.parameters[name].largest(count)
    if steps and steps[0][1] < 0.01:
        return f"no step adds 1 %; step {steps[0][0]} adds most"
    return ", ".join(f"step {step}: {reach.percent(share)}" for step, share in steps)
