"""Writes parameters as another framework loads them, and checks that framework's run of the file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from rnnspect import engines
from rnnspect.checking.check import check_prepared
from rnnspect.errors import EngineError, FileError, InputError, Problem, Where, listed
from rnnspect.files import writing
from rnnspect.judging.verdict import Verdict
from rnnspect.network import memory
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec, form_of
from rnnspect.tracing.prepare import Prepared, prepare
from rnnspect.weights import writers
from rnnspect.weights.layouts import FORMS
from rnnspect.weights.layouts.packing import LostAt
from rnnspect.weights.writers.interface import Target

DRAWN: dict[str, Any] = {"input": "randn:8", "batch": 4, "h0": "randn"}
"""The sequence on which a file is run: random, so that every gate counts, from states that are not zero."""
LENGTHS = [8, 3, 8, 5]
_KINDS = {"W": "weight", "b": "bias"}
_SHOWN = 8
"""At most so many losses are named, and the rest is counted."""


@dataclass(frozen=True)
class Conversion:
    """What was written. `verdict` is None where the file could not be run, and `unverified` then says why."""

    target: str
    path: Path
    spec: Spec
    verdict: Verdict | None
    unverified: str | None
    lost: tuple[LostAt, ...]
    notes: tuple[str, ...]
    code: str
    """The Python lines that load the file in the target's framework."""

    @property
    def kept(self) -> bool:
        """Whether the file is there."""
        return self.verdict is None or self.verdict.agrees

    @property
    def exit_status(self) -> int:
        return 0 if self.verdict is None else self.verdict.exit_status


class _NotKeptError(Exception):
    """Ends the writing of a file whose run does not agree with the equations."""


def convert(
    spec: Spec, to: str, path: Path, *, lossy: bool, lengths: bool = False, where: Where | None = None
) -> Conversion:
    """Writes the spec's parameters to `path` as the target loads them. Where the target's framework is installed, it
    first runs the file, which is kept only if that run agrees with the equations.

    With `lossy` what has no place in the target is left out; the run is then held against the parameters with zeros
    there. With `lengths` a file that says what is computed also takes the lengths of a batch.

    Raises `InputError` for what the target cannot hold, or would lose, `FileError` for a file that cannot be written.
    """
    target = writers.find(to, "--to")
    _check_path(path, target, lengths)
    if problems := [replace(one, where="--to") for one in target.refusals(spec)]:
        raise InputError(problems)
    drawn: dict[str, Any] = {**DRAWN, "c0": "randn" if spec.cell_type.has_cell_state else None}
    drawn["lengths"] = LENGTHS if lengths else None
    notes = (
        [] if spec.weights is not None else [f"no weights were given: these are random, drawn from seed {spec.seed}"]
    )
    notes += [] if spec.head is None else ["the head is not written to the file"]
    whole = prepare(spec.with_changes(**drawn, device="cpu"), where=where, require_memory=memory.run_needs)
    spec = whole.spec.with_changes(head=None)
    parameters = {name: value for name, value in whole.parameters.items() if not name.startswith("head.")}
    prepared = replace(whole, spec=spec, parameters=parameters)
    lost = target.lost(spec, parameters)
    if lost and not lossy:
        raise _refused(lost, spec, parameters)
    held = _without(lost, spec, parameters)
    verdict, unverified = _written(replace(prepared, parameters=held), target, path)
    if verdict is not None and verdict.verdict == "cannot tell" and spec.dtype in ("float16", "bfloat16"):
        notes.append(f"{spec.dtype} rounds too coarsely for a check; write the same numbers with --dtype float32")
    return Conversion(target.name, path, spec, verdict, unverified, lost, tuple(notes), target.code(spec, str(path)))


def _written(prepared: Prepared, target: Target, path: Path) -> tuple[Verdict | None, str | None]:
    """Writes a file and checks its framework's run of it: the verdict, or why there is none. A file whose run does not
    agree is not kept."""
    verdict: Verdict | None = None
    unverified: str | None = None

    def write(file: IO[bytes]) -> None:
        nonlocal verdict, unverified
        target.write(prepared.spec, prepared.parameters, file)
        file.flush()
        try:
            engine = engines.load(target.engine, Path(file.name), prepared.spec)
            verdict = _verdict(replace(prepared, engine=engine))
        except EngineError as error:
            unverified = listed(map(str, error.problems))
        if verdict is not None and not verdict.agrees:
            raise _NotKeptError

    with suppress(_NotKeptError):
        writing.write_whole(path, write)
    return verdict, unverified


def _verdict(prepared: Prepared) -> Verdict:
    """The verdict on the drawn sequence; where that cannot tell, on one that is drawn so that its gates are seen."""
    verdict = check_prepared(prepared)
    if verdict.verdict != "cannot tell":
        return verdict
    zeros = prepared.sequence.with_each_state(torch.zeros_like)
    return check_prepared(replace(prepared, sequence=zeros), draw=True)


def _check_path(path: Path, target: Target, lengths: bool) -> None:
    if not path.name.lower().endswith(target.suffix) or path.name.lower() == target.suffix:
        found = f"{path.name!r} is not a file name for {target.name}"
        raise InputError(found, allowed=f"a name that ends in {target.suffix}", where="--output")
    if lengths and not target.takes_lengths:
        found = f"a file for {target.name} holds only parameters, no input for lengths"
        takes = [name for name in writers.names() if writers.find(name).takes_lengths]
        raise InputError(found, advice=f"use --to {listed(takes)}", where="--with-lengths")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileError("this is a pipe or device", allowed="a plain file, which can be read back", where=str(path))
    writing.check_writable(path)


def _refused(lost: tuple[LostAt, ...], spec: Spec, parameters: Mapping[str, Tensor]) -> InputError:
    whole = [
        name
        for name in writers.names()
        if not (one := writers.find(name)).refusals(spec) and not one.lost(spec, parameters)
    ]
    advice = f"{f'use --to with one of {listed(whole)}, or ' if whole else ''}drop it with --lossy"
    said = list(map(str, lost[:_SHOWN]))
    said += [f"{len(lost) - _SHOWN} more cannot be stored"] if len(lost) > _SHOWN else []
    problems = [Problem(one, where="--to") for one in said[:-1]]
    return InputError([*problems, Problem(said[-1], advice=advice, where="--to")])


def _without(lost: tuple[LostAt, ...], spec: Spec, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters with zeros in place of what is lost."""
    found = dict(parameters)
    changed = set()
    gates = FORMS[form_of(spec)]
    for one in lost:
        kind, block = one.lost.name.split("_")
        name = f"{_KINDS[kind]}_{block[0]}h{suffix(one.layer, one.direction)}"
        if name not in changed:
            found[name] = found[name].clone()
            changed.add(name)
        found[name].chunk(len(gates))[gates.index(block[1:])].zero_()
    return found
