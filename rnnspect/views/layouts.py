"""Layouts: all in a table, one with its arrays, or two side by side with the steps from one to the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from rnnspect.views.rendering import indented, table
from rnnspect.weights.layouts.interface import FORMS, IN_WORDS, Layout, Packing
from rnnspect.weights.layouts.table import biases, gate_order, kernel, notes, steps_between


def overview(layouts: Sequence[Layout]) -> list[RenderableType]:
    """Every layout, a table a form."""
    parts: list[RenderableType] = []
    for form in FORMS:
        shown = table("layout", "gates", "weights", "stored as", "biases", title=_title(form))
        for layout in layouts:
            if packing := layout.cells.get(form):
                said = gate_order(packing), kernel(packing), packing.orientation, biases(packing)
                shown.add_row(layout.name, *said)
        parts.append(shown)
    hint = Text("rnnspect layouts NAME shows one; two names show how to convert the first to the second.")
    return [*parts, hint]


def details(layout: Layout) -> list[RenderableType]:
    """Every form that one framework has: the arrays and the blocks in them."""
    parts: list[RenderableType] = []
    for packing in layout.packings:
        shown = table("", "", title=f"{_title(packing.form)}: {packing.where}")
        shown.show_header = False
        for column in shown.columns:
            column.no_wrap = column is shown.columns[0]
        for name, said in _fields(packing):
            shown.add_row(name, said)
        parts.append(shown)
    return [*parts, *_missing(layout)]


def side_by_side(one: Layout, other: Layout) -> list[RenderableType]:
    """The forms that both have, side by side, and the steps from the first to the second."""
    parts: list[RenderableType] = []
    for form, packing, wanted in _shared_forms(one, other):
        shown = table("", one.name, other.name, title=_title(form))
        for column in shown.columns[1:]:
            column.no_wrap = False
        for (name, first), (_, second) in zip(_compared(packing), _compared(wanted), strict=True):
            shown.add_row(name, first, second)
        parts += [shown, Text(f"from {one.name} to {other.name}:")]
        steps = steps_between(packing, wanted)
        parts += [indented(f"{at}. {step}") for at, step in enumerate(steps, 1)]
        parts.append(Text())
    return [*parts, *_missing(one), *_missing(other)]


def document(layouts: Sequence[Layout], between: bool) -> dict[str, Any]:
    """All that is known of some layouts; with `between` also the steps from the first to the second."""
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
        made["steps"] = {form: steps_between(first, second) for form, first, second in _shared_forms(*layouts)}
    return made


def _shared_forms(one: Layout, other: Layout) -> Iterator[tuple[str, Packing, Packing]]:
    """The forms that both layouts have, with the packing of each."""
    yield from ((form, packing, other.cells[form]) for form, packing in one.cells.items() if form in other.cells)


def _cell(packing: Packing) -> dict[str, Any]:
    return {
        "form": packing.form,
        "where": packing.where,
        "arrays": dict(packing.arrays),
        "gates": gate_order(packing).split(),
        "kernel": kernel(packing),
        "orientation": packing.orientation,
        "biases": biases(packing),
        "bias_always": packing.bias_always,
        "forget_bias": packing.forget_bias,
        "peepholes": packing.peepholes or None,
        "states": packing.states,
        "notes": list(notes(packing)),
        "source": packing.source,
    }


def _fields(packing: Packing) -> Iterator[tuple[str, str]]:
    """The arrays, then what else is known, as rows of a table."""
    yield from packing.arrays.items()
    yield "weights", f"{kernel(packing)}, {packing.orientation}"
    yield "biases", biases(packing)
    yield "states", packing.states
    for note in notes(packing):
        yield "note", note
    yield "source", packing.source


def _compared(packing: Packing) -> Iterator[tuple[str, str]]:
    yield "called", packing.where
    yield "gates", gate_order(packing)
    yield "weights", kernel(packing)
    yield "stored as", packing.orientation
    yield "biases", biases(packing)
    yield "states", packing.states
    yield "arrays", "\n".join(f"{name}: {line}" for name, line in packing.arrays.items())
    yield "notes", "\n".join(notes(packing))
    yield "source", packing.source


def _title(form: str) -> str:
    """The form in words; of a GRU also the key of a spec that asks for it."""
    reset = {"gru": " (reset: after)", "gru-before": " (reset: before)"}.get(form, "")
    return f"{IN_WORDS[form]}{reset}"


def _missing(layout: Layout) -> list[Text]:
    absent = [IN_WORDS[form] for form in FORMS if form not in layout.cells]
    return [Text(f"{layout.title} has no {', no '.join(absent)} that is known here")] if absent else []
