"""Layouts: all in a table, one as it is, or two side by side with the way between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from rnnspect.views.rendering import rendered, table
from rnnspect.weights.layouts.interface import FORMS, IN_WORDS
from rnnspect.weights.layouts.table import Row, row_of, steps_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from rnnspect.views.rendering import Screen
    from rnnspect.weights.layouts.interface import Layout, Packing


def as_table(layouts: Sequence[Layout], screen: Screen) -> str:
    """Every layout, a table a form."""
    parts = []
    for form in FORMS:
        shown = table("layout", "gates", "kernel", "kernel is", "biases", title=_title(form))
        for layout in layouts:
            if form in layout.cells:
                row = row_of(layout.cells[form])
                shown.add_row(layout.name, row.gates, row.kernel, row.orientation, row.biases)
        parts.append(shown)
    hint = Text("rnnspect layouts NAME shows one as it is, two names the way from the first to the second.")
    return rendered([*parts, hint], screen)


def as_one(layout: Layout, screen: Screen) -> str:
    """Every cell of one framework: the arrays and what is in them."""
    parts: list[Text | Table] = []
    for packing in layout.packings:
        shown = table("", "", title=f"{_title(packing.form)}: {packing.where}")
        shown.show_header = False
        for column in shown.columns:
            column.no_wrap = column is shown.columns[0]
        for name, said in _fields(packing):
            shown.add_row(name, said)
        parts.append(shown)
    return rendered([*parts, *_missing(layout)], screen)


def as_two(one: Layout, other: Layout, screen: Screen) -> str:
    """The cells that both have, side by side, and how to get from the first to the second."""
    parts: list[Text | Table | Padding] = []
    for form, packing in one.cells.items():
        if form not in other.cells:
            continue
        wanted = other.cells[form]
        shown = table("", one.name, other.name, title=_title(form))
        for column in shown.columns[1:]:
            column.no_wrap = False
        for (name, first), (_, second) in zip(_compared(packing), _compared(wanted), strict=True):
            shown.add_row(name, first, second)
        parts += [shown, Text(f"from {one.name} to {other.name}:")]
        steps = steps_between(packing, wanted)
        parts += [Padding(Text(f"{at}. {step}"), (0, 0, 0, 2)) for at, step in enumerate(steps, 1)]
        parts.append(Text())
    return rendered([*parts, *_missing(one), *_missing(other)], screen)


def document(layouts: Sequence[Layout], between: bool = False) -> dict[str, Any]:
    """All that is known of some layouts; with `between` also the way from the first to the second."""
    made: dict[str, Any] = {
        "format": "rnnspect.layouts",
        "version": 1,
        "layouts": [
            {
                "name": layout.name,
                "title": layout.title,
                "leading_direction": layout.leading_direction,
                "cells": [_cell(packing) for packing in layout.packings],
            }
            for layout in layouts
        ],
    }
    if between:
        one, other = layouts
        made["steps"] = {
            form: steps_between(packing, other.cells[form])
            for form, packing in one.cells.items()
            if form in other.cells
        }
    return made


def _cell(packing: Packing) -> dict[str, Any]:
    row = row_of(packing)
    return {
        "form": packing.form,
        "where": packing.where,
        "arrays": dict(packing.arrays),
        "gates": row.gates.split(),
        "kernel": row.kernel,
        "orientation": packing.orientation,
        "biases": row.biases,
        "bias_always": packing.bias_always,
        "forget_bias": packing.forget_bias,
        "peepholes": packing.peepholes or None,
        "states": packing.states,
        "notes": list(row.extras),
        "source": packing.source,
    }


def _fields(packing: Packing) -> Iterator[tuple[str, str]]:
    """The arrays, then what else there is to know."""
    row = row_of(packing)
    yield from packing.arrays.items()
    yield "kernel", f"{row.kernel}, {row.orientation}"
    yield "biases", row.biases
    yield "states", packing.states
    for note in row.extras:
        yield "note", note
    yield "stated in", packing.source


def _compared(packing: Packing) -> Iterator[tuple[str, str]]:
    row: Row = row_of(packing)
    yield "called", packing.where
    yield "gates", row.gates
    yield "kernel", row.kernel
    yield "kernel is", row.orientation
    yield "biases", row.biases
    yield "states", packing.states
    yield "arrays", "\n".join(f"{name}: {line}" for name, line in packing.arrays.items())
    yield "notes", "\n".join(row.extras)
    yield "stated in", packing.source


def _title(form: str) -> str:
    """With the key of a spec that says so."""
    reset = {"gru": " (reset: after)", "gru-before": " (reset: before)"}.get(form, "")
    return f"{IN_WORDS[form]}{reset}"


def _missing(layout: Layout) -> list[Text]:
    absent = [IN_WORDS[form] for form in FORMS if form not in layout.cells]
    return [Text(f"{layout.title} has no {', no '.join(absent)} that is known here")] if absent else []
