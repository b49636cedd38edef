"""A model in .onnx as a source of a check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cli.live import Row
from rnnspect.errors import InputError
from rnnspect.judging.verdict import EXIT_STATUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.cli.output import Output
    from rnnspect.judging.declared import Declared


def rows(
    source: str, flags: Mapping[str, Any], held_to: Declared | None, explain: float | None, output: Output
) -> list[Row]:
    """A row for each call of each recurrent node of a model that is run once on the input."""
    from rnnspect.checking.onnx.check import check_model

    beyond = [name for name in flags if flags[name] is not None and name not in ("module", "input", "batch", "seed")]
    if beyond:
        where = "--" + beyond[0].replace("_", "-")
        raise InputError("a model says itself what it is", allowed="--module, --input, --batch, --seed", where=where)
    seed = 1 if flags["seed"] is None else flags["seed"]
    found = check_model(Path(source), flags["input"], flags["module"], flags["batch"], seed, held_to, explain)
    for warning in found.warnings:
        output.note(warning)
    for name in found.never_ran:
        output.note(f"note: {source} {name} never ran")
    if not found.calls:
        raise InputError("no recurrent node ran on this input", where=source)
    rows = []
    for one in found.calls:
        label = f"{source} {one.node}" + ("" if one.index is None else f", call {one.index}")
        status = EXIT_STATUS["cannot tell"] if isinstance(one.found, str) else one.found.exit_status
        rows.append(Row(label, one.found, status, True))
    return rows
