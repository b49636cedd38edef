"""Models as sources of a check: a row for each call of a recurrent part, and an .onnx model, run once on the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cli.values import flag
from rnnspect.errors import InputError, listed
from rnnspect.judging.verdict import EXIT_STATUS

if TYPE_CHECKING:
    from rnnspect.checking.check import CheckTerms
    from rnnspect.cli.output import Output
    from rnnspect.judging.verdict import Skipped, Verdict


MOST_LISTED = 12
"""Nodes that a note names before it counts the rest."""


@dataclass(frozen=True)
class CheckRow:
    """One source, or one call of a live model's module: its verdict, or why there is none."""

    source: str
    found: Verdict | Skipped | str
    status: int
    subject: str = ""
    """What was checked, where that is not its engine: a recording, or a call in a model."""
    then: str = ""
    """The next command to type."""


def onnx_rows(source: str, flags: Mapping[str, Any], terms: CheckTerms, output: Output) -> list[CheckRow]:
    """A row for each call of each recurrent node of an ONNX model; `flags` are the options of the command."""
    from rnnspect.checking.onnx.check import check_model

    beyond = [name for name in flags if flags[name] is not None and name not in ("module", "input", "batch", "seed")]
    if beyond:
        said = "cannot be used with an ONNX model, which defines its network"
        advice = "it takes --module, --input, --batch and --seed"
        raise InputError(said, advice=advice, where=flag(beyond[0]))
    seed = 1 if flags["seed"] is None else flags["seed"]
    found = check_model(Path(source), flags["input"], flags["module"], flags["batch"], seed, terms)
    for warning in found.warnings:
        output.note(warning)
    if found.never_ran:
        output.note(f"note: {source} {listed(found.never_ran, MOST_LISTED)} never ran")
    if not found.calls:
        raise InputError("no recurrent node ran on this input", where=source)
    return [
        row_of_call(f"{source} {one.node}" + ("" if one.index is None else f", call {one.index}"), one.found)
        for one in found.calls
    ]


def row_of_call(label: str, found: Verdict | str) -> CheckRow:
    return CheckRow(label, found, EXIT_STATUS["cannot tell"] if isinstance(found, str) else found.exit_status, label)


def note_no_comparison(sources: list[str], output: Output) -> None:
    """Whoever names a checkpoint and an .onnx file may mean the one against the other."""
    onnx = [source for source in sources if source.endswith(".onnx")]
    weights = [source for source in sources if source.endswith((".pt", ".pth", ".bin", ".safetensors", ".npz"))]
    if onnx and weights:
        how = f"rnnspect check {weights[0]} --engine {onnx[0]}"
        output.note(f"note: each file is checked by itself; to compare them: {how}")
