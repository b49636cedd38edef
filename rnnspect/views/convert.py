"""A conversion as text and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from rnnspect.checking.converting import Conversion
from rnnspect.network.parameters import module_repr
from rnnspect.views import check, documents, text


def document(done: Conversion) -> dict[str, Any]:
    """The same as JSON: `file` is null where none was kept, `verdict` and `check` where the file could not be run."""
    verdict = done.verdict
    return {
        "format": "rnnspect.convert",
        "version": 1,
        "target": done.target,
        "file": str(done.path) if done.kept else None,
        "verdict": None if verdict is None else verdict.verdict,
        "unverified": done.unverified,
        "lost": [
            {"layer": one.layer, "direction": one.direction, "name": one.lost.name, "largest": one.lost.largest}
            for one in done.lost
        ],
        "notes": list(done.notes),
        "code": done.code,
        "spec": documents.spec_document(done.spec),
        "check": None if verdict is None else documents.check_document(verdict),
    }


def parts(done: Conversion) -> Iterator[RenderableType]:
    """What was written, what the target made of it, and how it is loaded."""
    name = text.printable(str(done.path))
    kept = f"{module_repr(done.spec)} for {done.target}: {name}"
    # A path is copied whole, or not at all.
    heading = Text(kept, "bold") if done.kept else Text(f"{name} was not written", "bold red")
    heading.no_wrap, heading.overflow = True, "ignore"
    yield heading
    if done.verdict is None:
        yield Text(f"not verified here: {done.unverified}", text.LOUD)
    else:
        engine = done.verdict.engine
        yield Text(check.answer(done.verdict), check.STYLE[done.verdict.verdict])
        yield Text(
            f"{engine.name} {engine.version} loaded the file and ran {done.verdict.steps:,} steps of {done.spec.batch} "
            "sequences from random states"
        )
        if not done.verdict.agrees:
            yield from map(Text, check.lines_of(done.verdict))
    yield from (Text(f"lost: {one}", text.LOUD) for one in done.lost)
    if done.lost and done.verdict is not None:
        yield Text("the check took zeros for what is lost")
    yield from map(Text, done.notes)
    if done.kept:
        yield Text("\nTo load it:\n")
        for line in done.code.splitlines():
            yield Text(f"    {text.printable(line)}" if line else "", no_wrap=True, overflow="ignore")
